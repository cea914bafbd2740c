#include "services/control/control_server.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "libs/ids/keys.h"
#include "services/control/attachment_client.h"
#include "services/control/local_attachment.h"
#include "tests/unit/services/control/fixture.h"
#include "tributary/v1/control.grpc.pb.h"

namespace tributary::control {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

// Control's thread.
class Loop {
 public:
  Loop() : thread_([this] { Run(); }) {}
  ~Loop() {
    {
      const std::lock_guard lock(mutex_);
      is_stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  Post post() {
    return [this](std::function<void(Now)> task) {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
      changed_.notify_all();
    };
  }

 private:
  void Run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return is_stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) {
        return;
      }
      const std::function<void(Now)> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task({});
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void(Now)>> tasks_;
  bool is_stopping_ = false;
  std::thread thread_;
};

// What a service was sent, waited for.
class Mailbox {
 public:
  std::function<void(const v1::ToService&)> deliver() {
    return [this](const v1::ToService& message) {
      const std::lock_guard lock(mutex_);
      messages_.push_back(message);
      changed_.notify_all();
    };
  }
  std::optional<v1::ToService> Take() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(20), [&] { return !messages_.empty(); })) {
      return std::nullopt;
    }
    v1::ToService message = messages_.front();
    messages_.pop_front();
    return message;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::ToService> messages_;
};

class ControlServerTest : public ControlTest {
 protected:
  ControlServerTest() {
    EXPECT_TRUE(
        tls::EnsureDirectory(directory / "tls", {"control", "loader", "transformer", "tributary"})
            .ok());
    Apply(AcmeRequest());
    StartServer("127.0.0.1:0");
    address_ = "127.0.0.1:" + std::to_string(server_->port());
  }
  ~ControlServerTest() override { server_.reset(); }

  void StartServer(const std::string& listen) {
    absl::StatusOr<std::unique_ptr<ControlServer>> server =
        ControlServer::Start({.listen = listen,
                              .identity = Identity("control"),
                              .on_queue = watch_queue(),
                              .on_tasks =
                                  [this](std::int64_t depth, std::int64_t) {
                                    tasks_ = depth;
                                    if (depth > tasks_most_) tasks_most_ = depth;
                                  }},
                             *core, loop_.post(), nullptr);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  /// Of whatever is started with it; a test fills one.
  std::function<void(std::int64_t, std::int64_t)> watch_queue() {
    return [this](std::int64_t depth, std::int64_t capacity) {
      EXPECT_LE(depth, capacity);
      queue_ = depth;
      if (depth > queue_most_) queue_most_ = depth;
    };
  }

  tls::Identity Identity(const std::string& name) {
    return tls::Load(directory / "tls/" + name).value();
  }

  std::unique_ptr<AttachmentClient> Connect(const std::string& name, Mailbox& mailbox) {
    return std::make_unique<AttachmentClient>(
        AttachmentOptions{.address = address_,
                          .identity = Identity(name),
                          .retry_delay_max = std::chrono::milliseconds(400),
                          .on_queue = watch_queue()},
        logger, mailbox.deliver());
  }

  static std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const tls::Identity& identity) {
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = identity.ca_pem;
    ssl.pem_cert_chain = identity.cert_pem;
    ssl.pem_private_key = identity.key_pem;
    return grpc::SslCredentials(ssl);
  }
  std::unique_ptr<v1::Control::Stub> Stub(const tls::Identity& identity) {
    return v1::Control::NewStub(grpc::CreateChannel(address_, CredentialsOf(identity)));
  }

  static v1::FromService Hello(const std::string& service) {
    v1::FromService message;
    message.mutable_hello()->set_service(service);
    return message;
  }
  static v1::FromService OwnsAcme() {
    v1::FromService message;
    message.mutable_ownership()->add_partitions(ids::PartitionOf("acme", kPartitions));
    return message;
  }
  static v1::FromService WantsCredential() {
    v1::FromService message;
    message.mutable_credential_request()->set_tenant("acme");
    message.mutable_credential_request()->set_connection("crm");
    return message;
  }

  std::atomic<std::int64_t> queue_ = 0;
  std::atomic<std::int64_t> queue_most_ = 0;
  std::atomic<std::int64_t> tasks_ = 0;
  std::atomic<std::int64_t> tasks_most_ = 0;
  // Ends after the server, whose streams post their end.
  Loop loop_;
  std::unique_ptr<ControlServer> server_;
  std::string address_;
};

grpc::Status GetStatus(v1::Control::Stub& stub, v1::StatusResponse& response) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  return stub.GetStatus(&context, {}, &response);
}

TEST_F(ControlServerTest, TheCommandLineMayCallWithItsCertificate) {
  v1::StatusResponse response;

  const grpc::Status status = GetStatus(*Stub(Identity("tributary")), response);

  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.syncs_size(), 1);
  EXPECT_EQ(response.missing_services_size(), 3);
}

TEST_F(ControlServerTest, AServicesCertificateIsNotTheCommandLines) {
  v1::StatusResponse response;

  EXPECT_EQ(GetStatus(*Stub(Identity("loader")), response).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(ControlServerTest, WithoutACertificateOfOurAuthorityNobodyIsServed) {
  ASSERT_TRUE(tls::EnsureDirectory(directory / "evil", {"tributary"}).ok());
  tls::Identity evil = tls::Load(directory / "evil/tributary").value();
  evil.ca_pem = Identity("tributary").ca_pem;
  v1::StatusResponse response;
  EXPECT_EQ(GetStatus(*Stub(evil), response).error_code(), grpc::StatusCode::UNAVAILABLE);

  tls::Identity none;
  none.ca_pem = evil.ca_pem;
  EXPECT_EQ(GetStatus(*Stub(none), response).error_code(), grpc::StatusCode::UNAVAILABLE);

  EXPECT_FALSE(
      v1::Control::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()))
          ->GetStatus(std::make_unique<grpc::ClientContext>().get(), {}, &response)
          .ok());
}

TEST_F(ControlServerTest, AnAttachedOwnerGetsItsCredential) {
  Mailbox mailbox;
  const auto client = Connect("loader", mailbox);
  client->Send(Hello("loader"));
  client->Send(OwnsAcme());
  client->Send(WantsCredential());

  const std::optional<v1::ToService> answer = mailbox.Take();

  ASSERT_TRUE(answer.has_value()) << "no credential came";
  EXPECT_EQ(answer->credential().fields().at("token"), "canary-highlevel-token");
}

TEST_F(ControlServerTest, AServiceCannotAttachAsAnother) {
  const tls::Identity identity = Identity("transformer");
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = identity.ca_pem;
  ssl.pem_cert_chain = identity.cert_pem;
  ssl.pem_private_key = identity.key_pem;
  const auto stub =
      v1::Attachment::NewStub(grpc::CreateChannel(address_, grpc::SslCredentials(ssl)));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  const auto stream = stub->Attach(&context);
  stream->Write(Hello("loader"));
  v1::ToService message;
  EXPECT_FALSE(stream->Read(&message));

  const grpc::Status status = stream->Finish();

  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << status.error_message();
}

TEST_F(ControlServerTest, AfterControlWasAwayTheClientSaysAgainWhatItMustKnow) {
  Mailbox mailbox;
  const auto client = Connect("loader", mailbox);
  client->Send(Hello("loader"));
  client->Send(OwnsAcme());
  client->Send(WantsCredential());
  ASSERT_TRUE(mailbox.Take().has_value());

  server_.reset();
  client->Send(WantsCredential());
  StartServer(address_);

  const std::optional<v1::ToService> answer = mailbox.Take();
  ASSERT_TRUE(answer.has_value()) << "the request was lost";
  EXPECT_EQ(answer->credential().problem(), "");
}

TEST_F(ControlServerTest, TheClientEndsWhileControlIsAwayAndBeforeHello) {
  Mailbox mailbox;
  const auto silent = Connect("loader", mailbox);
  server_.reset();
  const auto lonely = Connect("loader", mailbox);
  lonely->Send(Hello("loader"));
  // Their destructors return.
}

// What waits for one that does not read has an end, and so has the stream; it begins anew, and what
// was asked for again is answered.
TEST_F(ControlServerTest, AServiceThatReadsNothingIsLetGoAndServedWhenItComesBack) {
  // Long answers: what gRPC takes on the way is soon full.
  const std::string token(4000, 't');
  v1::ApplyRequest longer = AcmeRequest();
  (*longer.mutable_credentials(1)->mutable_fields())["token"] = token;
  Apply(longer);
  const auto stub =
      v1::Attachment::NewStub(grpc::CreateChannel(address_, CredentialsOf(Identity("loader"))));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  const auto stream = stub->Attach(&context);
  ASSERT_TRUE(stream->Write(Hello("loader")));
  ASSERT_TRUE(stream->Write(OwnsAcme()));
  // How much of it gRPC keeps on the way is its own affair: until control lets go.
  while (stream->Write(WantsCredential())) {
  }
  EXPECT_LT(std::chrono::system_clock::now(), context.deadline()) << "the stream goes on";
  EXPECT_EQ(queue_most_, 10'000);

  Mailbox mailbox;
  const auto client = Connect("loader", mailbox);
  client->Send(Hello("loader"));
  client->Send(OwnsAcme());
  client->Send(WantsCredential());
  const std::optional<v1::ToService> answer = mailbox.Take();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->credential().fields().at("token"), token);
  // What waited for the one before is not counted any more.
  for (int i = 0; i < 200 && queue_ != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(queue_, 0);
}

TEST_F(ControlServerTest, WhatWaitsForControlsThreadHasAnEnd) {
  std::promise<void> goes_on;
  loop_.post()([until = goes_on.get_future().share()](Now) { until.wait(); });

  // A service that says more than control can come to.
  const auto stub =
      v1::Attachment::NewStub(grpc::CreateChannel(address_, CredentialsOf(Identity("loader"))));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  const auto stream = stub->Attach(&context);
  ASSERT_TRUE(stream->Write(Hello("loader")));
  ASSERT_TRUE(stream->Write(OwnsAcme()));
  constexpr int kMessages = 500;
  for (int i = 0; i < kMessages; ++i) ASSERT_TRUE(stream->Write(WantsCredential()));
  for (int i = 0; i < 200 && tasks_most_ < 65; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(tasks_most_, 65) << "64 messages, and that it is there";

  // People who ask more. A connection carries a hundred calls at once.
  constexpr int kConnections = 12;
  constexpr int kCallsEach = 90;
  struct Call {
    grpc::ClientContext context;
    v1::BuildInfoRequest request;
    v1::BuildInfo answer;
  };
  std::vector<std::unique_ptr<v1::Control::Stub>> stubs;
  std::deque<Call> calls;
  std::atomic<int> refused = 0;
  std::atomic<int> answered = 0;
  for (int connection = 0; connection < kConnections; ++connection) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stubs.push_back(v1::Control::NewStub(
        grpc::CreateCustomChannel(address_, CredentialsOf(Identity("tributary")), arguments)));
    for (int i = 0; i < kCallsEach; ++i) {
      Call& call = calls.emplace_back();
      call.context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
      stubs.back()->async()->GetBuildInfo(
          &call.context, &call.request, &call.answer, [&](const grpc::Status& status) {
            (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED ? refused : answered) +=
                status.ok() || status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED ? 1 : 0;
          });
    }
  }
  for (int i = 0; i < 500 && refused == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_GT(refused, 0);
  // Two that come at once may both find room for one.
  EXPECT_LE(tasks_most_, 1'010);

  goes_on.set_value();
  for (int i = 0; i < 500 && refused + answered < kConnections * kCallsEach; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(refused + answered, kConnections * kCallsEach);
  // And nothing of what the service said is lost.
  v1::ToService message;
  for (int i = 0; i < kMessages; ++i) ASSERT_TRUE(stream->Read(&message)) << i;
  context.TryCancel();
  for (int i = 0; i < 200 && tasks_ != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(tasks_, 0);
}

// The other way round: a control that reads nothing.
TEST_F(ControlServerTest, WhatWaitsForAControlThatReadsNothingHasAnEndAndIsSaidAgain) {
  class Deaf final : public v1::Attachment::Service {
   public:
    grpc::Status Attach(grpc::ServerContext* context,
                        grpc::ServerReaderWriter<v1::ToService, v1::FromService>* stream) override {
      ++attached;
      stream->SendInitialMetadata();
      v1::FromService message;
      if (attached == 1) {
        while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        return grpc::Status::CANCELLED;
      }
      while (!is_over && stream->Read(&message)) {
        const std::lock_guard lock(mutex);
        heard.push_back(message.kind_case());
        changed.notify_all();
      }
      return grpc::Status::OK;
    }
    std::atomic<int> attached = 0;
    std::atomic<bool> is_over = false;
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<v1::FromService::KindCase> heard;
  };
  Deaf deaf;
  const tls::Identity identity = Identity("control");
  grpc::SslServerCredentialsOptions ssl;
  ssl.pem_root_certs = identity.ca_pem;
  ssl.pem_key_cert_pairs = {{identity.key_pem, identity.cert_pem}};
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(ssl), &port);
  builder.RegisterService(&deaf);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  address_ = "127.0.0.1:" + std::to_string(port);

  Mailbox mailbox;
  auto client = Connect("loader", mailbox);
  client->Send(Hello("loader"));
  client->Send(OwnsAcme());
  client->Send(WantsCredential());
  for (int i = 0; i < 200 && deaf.attached == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ASSERT_EQ(deaf.attached, 1);
  v1::FromService answer;
  answer.mutable_parked()->set_problem(std::string(200, 'x'));
  for (int i = 0; i < 60'000 && deaf.attached == 1; ++i) client->Send(answer);

  std::unique_lock lock(deaf.mutex);
  const bool heard_all = deaf.changed.wait_for(lock, std::chrono::seconds(20), [&] {
    return std::find(deaf.heard.begin(), deaf.heard.end(), v1::FromService::kCredentialRequest) !=
           deaf.heard.end();
  });
  EXPECT_TRUE(heard_all) << "what control must know was lost";
  lock.unlock();
  EXPECT_EQ(queue_most_, 10'000);
  deaf.is_over = true;
  client.reset();
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
}

TEST_F(ControlServerTest, AMessageThatIsTooLargeIsRefused) {
  v1::ApplyRequest request;
  (*request.mutable_files())["f"] = std::string(5 << 20, 'x');
  v1::ApplyResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));

  EXPECT_EQ(Stub(Identity("tributary"))->Apply(&context, request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(ControlServerTest, AStatusThatIsLargerThanAMessageStillArrives) {
  Mailbox mailbox;
  const auto client = Connect("loader", mailbox);
  client->Send(Hello("loader"));
  client->Send(OwnsAcme());
  v1::FromService message;
  message.mutable_status()->set_ready(true);
  for (int i = 0; i < 60'000; ++i) {
    v1::ConnectionReport& report = *message.mutable_status()->add_connections();
    report.set_tenant("acme");
    report.set_connection("c" + std::to_string(i));
    report.set_problem(std::string(500, 'x'));
  }
  client->Send(message);
  client->Send(WantsCredential());

  // On the same stream, behind it.
  ASSERT_TRUE(mailbox.Take().has_value());
  v1::StatusResponse response;
  ASSERT_TRUE(GetStatus(*Stub(Identity("tributary")), response).ok());
  EXPECT_THAT(response.missing_services(), Contains(HasSubstr("loader (of ")));
  EXPECT_THAT(logger.messages,
              Contains("The status is larger than a message; some of it is left out."));
}

TEST_F(ControlServerTest, AnAddressThatIsTakenIsSaid) {
  const absl::Status status =
      ControlServer::Start({.listen = address_, .identity = Identity("control")}, *core,
                           loop_.post(), nullptr)
          .status();

  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(address_));
}

TEST_F(ControlServerTest, AServiceInTheSameProcessAttachesByTheSameMessages) {
  Mailbox mailbox;
  LocalAttachment attachment("loader", *core, loop_.post(), mailbox.deliver());
  attachment.Send(Hello("loader"));
  attachment.Send(OwnsAcme());
  attachment.Send(WantsCredential());

  const std::optional<v1::ToService> answer = mailbox.Take();

  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->credential().fields().at("token"), "canary-highlevel-token");
}

}  // namespace
}  // namespace tributary::control
