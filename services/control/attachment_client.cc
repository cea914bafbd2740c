#include "services/control/attachment_client.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "services/control/status_size.h"
#include "tributary/v1/control.grpc.pb.h"

namespace tributary::control {
namespace {

// Messages that wait for one connection; more means that it is stuck.
constexpr std::size_t kQueueMax = 10'000;
// Bytes of a message around the status in it.
constexpr std::size_t kAroundStatusMax = 16;

using ConnectionName = std::pair<std::string, std::string>;

// One stream, from its start to its end. gRPC may call it until OnDone has returned.
class Session : public grpc::ClientBidiReactor<v1::FromService, v1::ToService> {
 public:
  Session(v1::Attachment::Stub& stub, const std::function<void(const v1::ToService&)>& on_message,
          const std::function<void(std::int64_t, std::int64_t)>& on_queue)
      : on_message_(on_message), on_queue_(on_queue) {
    ShowQueue();
    stub.async()->Attach(&context_, this);
    // Writes begin outside of reactions.
    AddHold();
    StartRead(&received_);
    StartCall();
  }

  void Send(const v1::FromService& message) {
    const std::lock_guard lock(mutex_);
    if (is_over_) {
      return;
    }
    if (queue_.size() >= kQueueMax) {
      context_.TryCancel();
      return;
    }
    queue_.push_back(message);
    ShowQueue();
    if (queue_.size() == 1) {
      StartWrite(&queue_.front());
    }
  }

  void Cancel() { context_.TryCancel(); }

  // Blocks until gRPC has let go of it.
  grpc::Status Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return is_done_; });
    return status_;
  }
  bool was_answered() const {
    const std::lock_guard lock(mutex_);
    return was_answered_;
  }

 private:
  void OnReadInitialMetadataDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    was_answered_ = was_answered_ || ok;
  }
  void OnReadDone(bool ok) override {
    if (ok) {
      on_message_(received_);
      StartRead(&received_);
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    context_.TryCancel();
    RemoveHold();
  }
  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    queue_.pop_front();
    ShowQueue();
    if (ok && !is_over_ && !queue_.empty()) {
      StartWrite(&queue_.front());
    }
  }
  void OnDone(const grpc::Status& status) override {
    const std::lock_guard lock(mutex_);
    status_ = status;
    is_done_ = true;
    queue_.clear();
    ShowQueue();
    changed_.notify_all();
  }

  // With the lock.
  void ShowQueue() const {
    if (on_queue_) on_queue_(static_cast<std::int64_t>(queue_.size()), kQueueMax);
  }

  const std::function<void(const v1::ToService&)>& on_message_;
  const std::function<void(std::int64_t, std::int64_t)>& on_queue_;
  grpc::ClientContext context_;
  v1::ToService received_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::FromService> queue_;
  bool is_over_ = false;
  bool is_done_ = false;
  bool was_answered_ = false;
  grpc::Status status_;
};

}  // namespace

struct AttachmentClient::State {
  AttachmentOptions options;
  Logger& logger;
  std::function<void(const v1::ToService&)> deliver;
  std::function<void(const v1::ToService&)> on_message;
  std::unique_ptr<v1::Attachment::Stub> stub;

  mutable std::mutex mutex;
  std::condition_variable changed;
  bool is_stopping = false;
  bool is_attached = false;
  std::shared_ptr<Session> session;
  // What control must know when it is back.
  std::optional<v1::FromService> hello;
  std::optional<v1::FromService> ownership;
  std::optional<v1::FromService> status;
  bool is_status_cut = false;
  std::map<ConnectionName, v1::FromService> credential_requests;
  std::map<ConnectionName, v1::FromService> reports;

  std::thread thread;

  void Keep(const v1::FromService& message) {
    switch (message.kind_case()) {
      case v1::FromService::kHello:
        hello = message;
        break;
      case v1::FromService::kOwnership:
        ownership = message;
        break;
      case v1::FromService::kStatus:
        status = message;
        break;
      case v1::FromService::kCredentialRequest:
        credential_requests[{message.credential_request().tenant(),
                             message.credential_request().connection()}] = message;
        break;
      case v1::FromService::kConnectionReport:
        reports[{message.connection_report().tenant(), message.connection_report().connection()}] =
            message;
        break;
      default:
        break;
    }
  }

  // One that is too large would end every stream that it is sent on. With the lock.
  v1::FromService MadeToFit(const v1::FromService& message) {
    v1::FromService made = message;
    const std::size_t bytes = message.status().ByteSizeLong();
    const std::size_t bytes_max =
        static_cast<std::size_t>(options.message_bytes_max) - kAroundStatusMax;
    if (options.on_status) {
      options.on_status(static_cast<std::int64_t>(bytes), static_cast<std::int64_t>(bytes_max));
    }
    FitInto(bytes_max, *made.mutable_status());
    const bool is_cut = made.status().left_out() > 0;
    if (is_cut && !is_status_cut) {
      logger.Log(Logger::Level::kWarning,
                 "The status is larger than a message; some of it is left out.",
                 {{"bytes", std::to_string(bytes)},
                  {"left_out", std::to_string(made.status().left_out())}});
    }
    is_status_cut = is_cut;
    return made;
  }

  void OnMessage(const v1::ToService& message) {
    {
      const std::lock_guard lock(mutex);
      is_attached = true;
      if (message.has_credential()) {
        credential_requests.erase(
            {message.credential().tenant(), message.credential().connection()});
      }
    }
    deliver(message);
  }

  // With the lock. A new stream begins with what was kept, hello first.
  void SendKept() {
    for (const std::optional<v1::FromService>* kept : {&hello, &ownership, &status}) {
      if (kept->has_value()) {
        session->Send(**kept);
      }
    }
    for (const auto& [name, report] : reports) {
      session->Send(report);
    }
    for (const auto& [name, request] : credential_requests) {
      session->Send(request);
    }
  }

  void Run() {
    std::mt19937_64 random{std::random_device{}()};
    Duration bound = options.retry_delay_min;
    bool was_told = false;
    while (true) {
      std::shared_ptr<Session> current;
      {
        std::unique_lock lock(mutex);
        // Nothing to say before the service has said who it is.
        changed.wait(lock, [&] { return is_stopping || hello.has_value(); });
        if (is_stopping) {
          return;
        }
        session = std::make_shared<Session>(*stub, on_message, options.on_queue);
        current = session;
        SendKept();
      }
      const grpc::Status ended = current->Wait();
      std::unique_lock lock(mutex);
      session.reset();
      is_attached = false;
      if (is_stopping) {
        return;
      }
      if (current->was_answered()) {
        bound = options.retry_delay_min;
        was_told = false;
      }
      if (!was_told) {
        logger.Log(Logger::Level::kWarning, "Control cannot be reached; trying again.",
                   {{"address", options.address}, {"problem", ended.error_message()}});
        was_told = true;
      }
      const Duration delay(std::uniform_int_distribution<std::int64_t>(0, bound.count())(random));
      bound = std::min(bound * 2, options.retry_delay_max);
      changed.wait_for(lock, delay, [&] { return is_stopping; });
    }
  }
};

AttachmentClient::AttachmentClient(AttachmentOptions options, Logger& logger,
                                   std::function<void(const v1::ToService&)> deliver)
    : state_(new State{
          .options = std::move(options), .logger = logger, .deliver = std::move(deliver)}) {
  State& state = *state_;
  state.on_message = [&state](const v1::ToService& message) { state.OnMessage(message); };
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = state.options.identity.ca_pem;
  ssl.pem_cert_chain = state.options.identity.cert_pem;
  ssl.pem_private_key = state.options.identity.key_pem;
  grpc::ChannelArguments arguments;
  // Whatever the address: who answers must be control.
  arguments.SetSslTargetNameOverride("control");
  arguments.SetMaxReceiveMessageSize(state.options.message_bytes_max);
  arguments.SetMaxSendMessageSize(state.options.message_bytes_max);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // Our own delays decide when to try again.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  state.stub = v1::Attachment::NewStub(
      grpc::CreateCustomChannel(state.options.address, grpc::SslCredentials(ssl), arguments));
  state.thread = std::thread([&state] { state.Run(); });
}

AttachmentClient::~AttachmentClient() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->is_stopping = true;
    if (state_->session != nullptr) {
      state_->session->Cancel();
    }
    state_->changed.notify_all();
  }
  state_->thread.join();
}

void AttachmentClient::Send(const v1::FromService& message) {
  const std::lock_guard lock(state_->mutex);
  const bool is_first_hello = !state_->hello.has_value();
  std::optional<v1::FromService> made;
  if (message.has_status()) {
    made = state_->MadeToFit(message);
  }
  const v1::FromService& sent = made ? *made : message;
  state_->Keep(sent);
  if (state_->session != nullptr) {
    state_->session->Send(sent);
  } else if (is_first_hello && message.has_hello()) {
    state_->changed.notify_all();
  }
}

bool AttachmentClient::is_attached() const {
  const std::lock_guard lock(state_->mutex);
  return state_->is_attached || (state_->session != nullptr && state_->session->was_answered());
}

}  // namespace tributary::control
