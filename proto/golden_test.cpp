// The recorded bytes of proto/golden: decoded, compared with their JSON, encoded again.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "zsync/v1/channels.pb.h"
#include "zsync/v1/common.pb.h"
#include "zsync/v1/daemon.pb.h"
#include "zsync/v1/diagnostics.pb.h"
#include "zsync/v1/events.pb.h"
#include "zsync/v1/functions.pb.h"
#include "zsync/v1/projects.pb.h"
#include "zsync/v1/tasks.pb.h"
#include "zsync/v1/traces.pb.h"
#include "zsync/v1/triggers.pb.h"
#include "zsync/v1/watch.pb.h"

namespace zsync::v1 {
namespace {

namespace pb = google::protobuf;

// Every message of the package; naming one of each file links all of them.
std::vector<const pb::Descriptor*> message_kinds() {
  std::vector<const pb::Descriptor*> kinds;
  for (const pb::Descriptor* one :
       {Record::descriptor(), Task::descriptor(), Channel::descriptor(), WatchBatch::descriptor(),
        DaemonInfo::descriptor(), Event::descriptor(), TraceSummary::descriptor(),
        Function::descriptor(), Project::descriptor(), Trigger::descriptor(),
        Diagnostic::descriptor()}) {
    const pb::FileDescriptor* file = one->file();
    for (int i = 0; i < file->message_type_count(); ++i) kinds.push_back(file->message_type(i));
  }
  return kinds;
}

std::string golden(const std::string& file) {
  const char* folder = std::getenv("ZSYNC_GOLDEN");
  std::ifstream in(std::string(folder == nullptr ? "proto/golden" : folder) + "/" + file,
                   std::ios::binary);
  EXPECT_TRUE(in.good()) << file << ": run proto/golden/make.py";
  return {std::istreambuf_iterator<char>(in), {}};
}

std::unique_ptr<pb::Message> new_message(const pb::Descriptor* kind) {
  return std::unique_ptr<pb::Message>(
      pb::MessageFactory::generated_factory()->GetPrototype(kind)->New());
}

std::string encode(const pb::Message& message) {
  std::string bytes;
  {
    pb::io::StringOutputStream stream(&bytes);
    pb::io::CodedOutputStream out(&stream);
    out.SetSerializationDeterministic(true);
    EXPECT_TRUE(message.SerializeToCodedStream(&out));
  }
  return bytes;
}

TEST(Golden, RecordedBytesReadAsTheirJson) {
  for (const pb::Descriptor* kind : message_kinds()) {
    SCOPED_TRACE(kind->name());
    const std::unique_ptr<pb::Message> message = new_message(kind);
    ASSERT_TRUE(message->ParseFromString(golden(kind->name() + ".bin")));
    const std::unique_ptr<pb::Message> expected = new_message(kind);
    const auto read = pb::util::JsonStringToMessage(golden(kind->name() + ".json"), expected.get());
    ASSERT_TRUE(read.ok()) << read.ToString();
    message->DiscardUnknownFields();
    EXPECT_TRUE(pb::util::MessageDifferencer::Equals(*message, *expected))
        << message->DebugString() << "\nis not\n"
        << expected->DebugString();
  }
}

TEST(Golden, RecordedBytesAreWrittenAgainWithTheFieldsOfAFutureVersion) {
  for (const pb::Descriptor* kind : message_kinds()) {
    SCOPED_TRACE(kind->name());
    const std::string recorded = golden(kind->name() + ".bin");
    const std::unique_ptr<pb::Message> message = new_message(kind);
    ASSERT_TRUE(message->ParseFromString(recorded));
    EXPECT_EQ(message->GetReflection()->GetUnknownFields(*message).field_count(), 2);
    EXPECT_EQ(encode(*message), recorded);
  }
}

TEST(Golden, EveryFieldOfEveryMessageIsRecorded) {
  for (const pb::Descriptor* kind : message_kinds()) {
    const std::unique_ptr<pb::Message> message = new_message(kind);
    ASSERT_TRUE(message->ParseFromString(golden(kind->name() + ".bin")));
    std::vector<const pb::FieldDescriptor*> set;
    message->GetReflection()->ListFields(*message, &set);
    EXPECT_EQ(static_cast<int>(set.size()), kind->field_count())
        << kind->name() << " has fields that are not recorded: run proto/golden/make.py";
  }
}

}  // namespace
}  // namespace zsync::v1
