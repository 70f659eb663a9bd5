#include "cli/command.hpp"

#include <CLI/CLI.hpp>
#include <utility>

namespace zsync::cli {

Flag* Flag::required() {
  option_.required();
  return this;
}

Flag* Flag::type_name(const std::string& name) {
  option_.type_name(name);
  return this;
}

Flag* Flag::description(const std::string& text) {
  option_.description(text);
  return this;
}

Flag* Flag::group(const std::string& heading) {
  option_.group(heading);
  return this;
}

Flag* Flag::excludes(Flag* other) {
  option_.excludes(&other->option_);
  return this;
}

Flag* Flag::needs(Flag* other) {
  option_.needs(&other->option_);
  return this;
}

Flag* Flag::capture_default_str() {
  option_.capture_default_str();
  return this;
}

Flag* Flag::expected(int least, int most) {
  option_.expected(least, most);
  return this;
}

Flag* Flag::allow_extra_args(bool allowed) {
  option_.allow_extra_args(allowed);
  return this;
}

Flag* Flag::delimiter(char between) {
  option_.delimiter(between);
  return this;
}

Flag* Flag::one_of(std::initializer_list<const char*> words) {
  option_.check(CLI::IsMember(std::vector<std::string>(words.begin(), words.end())));
  return this;
}

Flag* Flag::between(int least, int most) {
  option_.check(CLI::Range(least, most));
  return this;
}

Flag* Flag::between(double least, double most) {
  option_.check(CLI::Range(least, most));
  return this;
}

Flag* Flag::in_bytes() {
  option_.transform(CLI::AsSizeValue(false));
  return this;
}

std::size_t Flag::count() const { return option_.count(); }

bool Flag::takes_value() const { return option_.get_items_expected_max() != 0; }

const std::vector<std::string>& Flag::long_names() const { return option_.get_lnames(); }

Command::Command(const std::string& name, const std::string& help)
    : own_(std::make_unique<CLI::App>(help, name)), app_(*own_) {
  for (CLI::Option* option : app_.get_options()) keep(*option);  // --help
}

Command::Command(Command& parent, CLI::App& app) : app_(app), parent_(&parent) {
  for (CLI::Option* option : app_.get_options()) keep(*option);
}

Command::~Command() = default;

Command* Command::add_subcommand(const std::string& name, const std::string& help) {
  CLI::App* app = app_.add_subcommand(name, help);
  return subcommands_.emplace_back(new Command(*this, *app)).get();
}

Flag* Command::keep(CLI::Option& option) { return &flags_.emplace_back(option); }

template <class Value>
Flag* Command::add(const std::string& names, Value& value, const std::string& help) {
  return keep(*app_.add_option(names, value, help));
}

Flag* Command::add_option(const std::string& names, std::string& value, const std::string& help) {
  return add(names, value, help);
}

Flag* Command::add_option(const std::string& names, int& value, const std::string& help) {
  return add(names, value, help);
}

Flag* Command::add_option(const std::string& names, unsigned& value, const std::string& help) {
  return add(names, value, help);
}

Flag* Command::add_option(const std::string& names, std::uint64_t& value, const std::string& help) {
  return add(names, value, help);
}

Flag* Command::add_option(const std::string& names, double& value, const std::string& help) {
  return add(names, value, help);
}

Flag* Command::add_option(const std::string& names, std::optional<unsigned>& value,
                          const std::string& help) {
  return add(names, value, help);
}

Flag* Command::add_option(const std::string& names, std::optional<std::uint64_t>& value,
                          const std::string& help) {
  return add(names, value, help);
}

Flag* Command::add_option(const std::string& names, std::optional<double>& value,
                          const std::string& help) {
  return add(names, value, help);
}

Flag* Command::add_option(const std::string& names, std::vector<std::string>& values,
                          const std::string& help) {
  return add(names, values, help);
}

Flag* Command::add_option_function(const std::string& names,
                                   std::function<void(const std::string&)> taken,
                                   const std::string& help) {
  return keep(*app_.add_option_function<std::string>(names, std::move(taken), help));
}

Flag* Command::add_flag(const std::string& names, bool& value, const std::string& help) {
  return keep(*app_.add_flag(names, value, help));
}

Flag* Command::add_flag_callback(const std::string& names, std::function<void()> taken,
                                 const std::string& help) {
  return keep(*app_.add_flag_callback(names, std::move(taken), help));
}

Flag* Command::find_flag(const std::string& name) {
  const CLI::Option* option = app_.get_option_no_throw(name);
  for (Flag& flag : flags_) {
    if (option != nullptr && flag.is(*option)) return &flag;
  }
  return nullptr;
}

std::vector<Flag*> Command::flags() {
  std::vector<Flag*> all;
  for (Flag& flag : flags_) all.push_back(&flag);
  return all;
}

Command* Command::alias(const std::string& name) {
  app_.alias(name);
  return this;
}

Command* Command::group(const std::string& heading) {
  app_.group(heading);
  return this;
}

Command* Command::footer(const std::string& text) {
  app_.footer(text);
  return this;
}

Command* Command::require_subcommand() {
  app_.require_subcommand(1);
  return this;
}

Command* Command::may_have_subcommand() {
  app_.require_subcommand(0, 1);
  return this;
}

Command* Command::callback(std::function<void()> named) {
  app_.callback(std::move(named));
  return this;
}

void Command::complete() {
  for (const std::function<void()>& add : std::exchange(missing_, {})) add();
}

void Command::version_flag(const std::string& version) {
  keep(*app_.set_version_flag("--version", version));
}

const std::string& Command::name() const { return app_.get_name(); }

std::string Command::full_name() const {
  return parent_ == nullptr ? name() : parent_->full_name() + " " + name();
}

std::vector<Command*> Command::subcommands() const {
  std::vector<Command*> all;
  for (const auto& subcommand : subcommands_) all.push_back(subcommand.get());
  return all;
}

const std::vector<std::string>& Command::aliases() const { return app_.get_aliases(); }

bool Command::is_called(const std::string& word) const { return app_.check_name(word); }

bool Command::subcommand_named() const { return !app_.get_subcommands().empty(); }

bool Command::lacks_subcommand() const {
  return app_.get_require_subcommand_min() > 0 && !subcommand_named();
}

Command::Parsed Command::parse(const std::vector<std::string>& words) {
  std::vector<std::string> reversed(words.rbegin(), words.rend());
  try {
    app_.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    return {Outcome::kHelp, ""};
  } catch (const CLI::CallForVersion&) {
    return {Outcome::kVersion, ""};
  } catch (const CLI::ExtrasError&) {
    return {Outcome::kUnknownWord, ""};
  } catch (const CLI::RequiredError& error) {
    return {Outcome::kMissing, error.what()};
  } catch (const CLI::ParseError& error) {
    return {Outcome::kWrong, error.what()};
  }
  return {};
}

std::vector<std::string> Command::unknown_words() const { return app_.remaining(true); }

std::string Command::help() const {
  return app_.help(parent_ == nullptr ? "" : parent_->full_name());
}

std::string bytes_text(std::string size) {
  try {
    (void)CLI::AsSizeValue(false)(size);
  } catch (const CLI::Error&) {
    return "";
  }
  return size;
}

}  // namespace zsync::cli
