// Bad input: a clear line, the right code, and nothing changed.
#include <grpcpp/grpcpp.h>

#include "tests/integration/daemon_test.hpp"
#include "zsync/v1/tasks.grpc.pb.h"

namespace zsync::integration {
namespace {

class BadInput : public DaemonTest {
 protected:
  absl::Status submit_raw(v1::TaskSpec spec) { return tasks().submit(std::move(spec)).status(); }
  void TearDown() override {
    const auto all = tasks().list({});
    ASSERT_TRUE(all.ok()) << all.status();
    EXPECT_EQ(all->tasks_size(), 0) << "something was kept of what was refused";
  }
};

v1::TaskSpec good() {
  v1::TaskSpec spec;
  spec.add_argv("true");
  return spec;
}

TEST_F(BadInput, AnEmptyCommandNamesTheField) {
  const absl::Status status = submit_raw({});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(client::error_detail(status)->field(), "spec.argv");
  const kit::Ran ran = ctl({"tasks", "submit"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("no command"));
}

TEST_F(BadInput, ADirectoryThatIsMissingNamesIt) {
  const kit::Ran ran = ctl({"tasks", "submit", "--cwd", "/no/such/directory", "--", "true"});
  EXPECT_EQ(ran.code, 2) << ran.err;
  EXPECT_EQ(ctl({"run", "--cwd", "/no/such/directory", "--", "true"}).code, 125);
  EXPECT_THAT(ran.err, HasSubstr("/no/such/directory"));
  EXPECT_THAT(ran.err, HasSubstr("No such file or directory"));
}

TEST_F(BadInput, NamesWithSlashNewlineOrNulAreRefused) {
  for (const std::string& name :
       {std::string("a/b"), std::string("a\nb"), std::string("a\0b", 3)}) {
    v1::TaskSpec spec = good();
    spec.set_name(name);
    const absl::Status status = submit_raw(spec);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(client::error_detail(status)->field(), "spec.name");
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
  }
  v1::TaskSpec spec;
  spec.add_argv(std::string("echo\0x", 6));
  EXPECT_EQ(submit_raw(spec).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(BadInput, ThreeMegabytesOfEnvironmentAreOverTheLimit) {
  v1::TaskSpec spec = good();
  for (int i = 0; i < 30; ++i) {
    (*spec.mutable_env())["V" + std::to_string(i)] = std::string(100'000, 'x');
  }
  const absl::Status status = submit_raw(spec);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(client::error_detail(status)->limit(), HasSubstr("environment_bytes_max = 1048576"));
  spec = good();
  (*spec.mutable_env())["V"] = std::string(200'000, 'x');
  EXPECT_THAT(client::error_detail(submit_raw(spec))->limit(), HasSubstr("131072"));
}

TEST_F(BadInput, AMessageOverTheLimitIsRefusedByTheClientAndByTheDaemon) {
  v1::TaskSpec spec = good();
  spec.set_stdin(std::string(100 << 20, 'x'));
  const absl::Status status = submit_raw(spec);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("4194304"));

  grpc::ChannelArguments arguments;
  arguments.SetMaxSendMessageSize(-1);
  auto channel = grpc::CreateCustomChannel("unix:" + daemon().socket(),
                                           grpc::InsecureChannelCredentials(), arguments);
  grpc::ClientContext context;
  v1::SubmitTasksRequest request;
  *request.add_specs() = spec;
  v1::SubmitTasksReply reply;
  const grpc::Status raw = v1::Tasks::NewStub(channel)->Submit(&context, request, &reply);
  EXPECT_EQ(raw.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << raw.error_message();
}

TEST_F(BadInput, AFutureFieldIsIgnored) {
  v1::TaskSpec spec = good();
  spec.GetReflection()->MutableUnknownFields(&spec)->AddLengthDelimited(900, "from the future");
  const auto id = tasks().submit(std::move(spec));
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(wait(*id).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_TRUE(tasks().remove(*id).ok());
}

TEST_F(BadInput, OneBadSpecOfABatchRefusesTheWholeBatch) {
  v1::SubmitTasksRequest request;
  *request.add_specs() = good();
  request.add_specs();
  EXPECT_EQ(tasks().submit(request).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace zsync::integration
