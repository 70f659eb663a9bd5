// Rare<T>: a container member that most objects of their kind leave empty, in the space of a
// pointer.
#pragma once

#include <concepts>
#include <initializer_list>
#include <memory>
#include <utility>

namespace zsync::daemon {

// Reads and is written like the string, vector or map that it stands for; copies are deep. Without
// an element it owns nothing.
template <typename T>
class Rare {
 public:
  using value_type = typename T::value_type;

  Rare() = default;
  Rare(T value) { *this = std::move(value); }
  Rare(std::initializer_list<value_type> values) : Rare(T(values)) {}
  Rare(const Rare& other) : value_(other.value_ ? std::make_unique<T>(*other.value_) : nullptr) {}
  Rare(Rare&&) noexcept = default;
  ~Rare() = default;
  Rare& operator=(const Rare& other) { return *this = Rare(other); }
  Rare& operator=(Rare&&) noexcept = default;
  Rare& operator=(T value) {
    if (value.empty()) {
      value_.reset();
    } else {
      edit() = std::move(value);
    }
    return *this;
  }
  Rare& operator=(std::initializer_list<value_type> values) { return *this = T(values); }
  // What T can be made of, as a string of a view.
  template <typename U>
    requires std::constructible_from<T, const U&>
  Rare& operator=(const U& value) {
    return *this = T(value);
  }

  const T& get() const { return value_ ? *value_ : none(); }
  operator const T&() const { return get(); }
  const T& operator*() const { return get(); }
  const T* operator->() const { return &get(); }
  // To be changed; owns a value from here on.
  T& edit() {
    if (!value_) value_ = std::make_unique<T>();
    return *value_;
  }

  bool empty() const { return get().empty(); }
  size_t size() const { return get().size(); }
  auto begin() const { return get().begin(); }
  auto end() const { return get().end(); }
  decltype(auto) operator[](size_t index) const { return get()[index]; }
  const value_type& front() const { return get().front(); }
  const value_type& back() const { return get().back(); }
  void push_back(value_type value) { edit().push_back(std::move(value)); }
  void clear() { value_.reset(); }

  friend bool operator==(const Rare& a, const Rare& b) { return a.get() == b.get(); }
  friend bool operator==(const Rare& a, const T& b) { return a.get() == b; }

 private:
  static const T& none() {
    static const T empty;
    return empty;
  }

  std::unique_ptr<T> value_;
};

}  // namespace zsync::daemon
