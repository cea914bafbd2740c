#include "services/control/control_server.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "services/control/local_attachment.h"
#include "tributary/v1/control.grpc.pb.h"
#include "tributary/v1/portability.grpc.pb.h"

namespace tributary::control {
namespace {

// Messages that wait for one service; more means that it is stuck.
constexpr std::size_t kQueueMax = 10'000;
// Tasks of callers that control's thread has not come to: of one service, which is read no further
// then, and of all, beyond which calls are refused.
constexpr int kTasksOfServiceMax = 64;
constexpr std::int64_t kTasksMax = 1'000;
// A copy of the database is larger than what is received.
constexpr std::int32_t kSentBytesMax = 64 << 20;
constexpr std::string_view kOperatorName = "tributary";
constexpr std::array<std::string_view, 3> kServiceNames = {"extractor", "transformer", "loader"};

grpc::Status ToGrpc(const absl::Status& status) {
  // The codes are the same.
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

std::set<std::string> NamesInCertificate(const grpc::ServerContextBase& context) {
  std::set<std::string> names;
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  if (auth != nullptr && auth->IsPeerAuthenticated()) {
    for (const grpc::string_ref& name : auth->FindPropertyValues("x509_subject_alternative_name")) {
      names.emplace(name.data(), name.size());
    }
  }
  return names;
}

/// What waits for all services.
class WaitingMessages {
 public:
  explicit WaitingMessages(std::function<void(std::int64_t, std::int64_t)> on_change)
      : on_change_(std::move(on_change)) {
    Add(0);
  }
  void Add(std::int64_t count) {
    const std::int64_t sum = count_ += count;
    if (on_change_) on_change_(sum, kQueueMax);
  }

 private:
  const std::function<void(std::int64_t, std::int64_t)> on_change_;
  std::atomic<std::int64_t> count_ = 0;
};

// What callers want of control's thread and it has not come to yet. Outlives the server with the
// tasks that were posted.
class Tasks : public std::enable_shared_from_this<Tasks> {
 public:
  Tasks(Post post, std::function<void(std::int64_t, std::int64_t)> on_change)
      : post_(std::move(post)), on_change_(std::move(on_change)) {
    Count(0);
  }

  void Add(std::function<void(Now)> task) {
    Count(1);
    post_([self = shared_from_this(), task = std::move(task)](Now now) {
      self->Count(-1);
      task(now);
    });
  }
  bool is_full() const { return count_ >= kTasksMax; }

 private:
  void Count(std::int64_t change) {
    const std::int64_t sum = count_ += change;
    if (on_change_) on_change_(sum, kTasksMax);
  }

  const Post post_;
  const std::function<void(std::int64_t, std::int64_t)> on_change_;
  std::atomic<std::int64_t> count_ = 0;
};

// One attached service. Kept alive by itself until OnDone, and by the core until Detach.
class AttachedService : public grpc::ServerBidiReactor<v1::FromService, v1::ToService> {
 public:
  AttachedService(grpc::CallbackServerContext& context, ControlCore& core,
                  std::shared_ptr<Tasks> tasks, WaitingMessages& waiting)
      : context_(context),
        names_(NamesInCertificate(context)),
        peer_(NewPeerId()),
        core_(core),
        tasks_(std::move(tasks)),
        waiting_(waiting) {}

  void Begin(std::shared_ptr<AttachedService> self) {
    self_ = std::move(self);
    // Tells the client at once that somebody is there.
    StartSendInitialMetadata();
    StartRead(&received_);
  }

  void Send(const v1::ToService& message) {
    const std::lock_guard lock(mutex_);
    if (is_finished_) {
      return;
    }
    if (queue_.size() >= kQueueMax) {
      // It does not read, so it would not read a status either.
      context_.TryCancel();
      FinishLocked(grpc::Status::CANCELLED);
      return;
    }
    queue_.push_back(message);
    waiting_.Add(1);
    if (queue_.size() == 1) {
      StartWrite(&queue_.front());
    }
  }

  void End(const grpc::Status& status) {
    const std::lock_guard lock(mutex_);
    FinishLocked(status);
  }

  std::function<void()> on_gone;

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      End(grpc::Status::OK);
      return;
    }
    if (!is_attached_) {
      const std::string& service = received_.hello().service();
      if (!received_.has_hello() || !names_.contains(service) ||
          std::find(kServiceNames.begin(), kServiceNames.end(), service) == kServiceNames.end()) {
        End({grpc::StatusCode::PERMISSION_DENIED,
             "the certificate is not that of the service `" + service + "`"});
        return;
      }
      is_attached_ = true;
      tasks_->Add([self = self_, service](Now) {
        self->core_.Attach(self->peer_, service,
                           [self](const v1::ToService& message) { self->Send(message); });
      });
    }
    tasks_->Add([self = self_, message = std::move(received_)](Now now) {
      self->core_.OnMessage(now, self->peer_, message);
      self->OnHandled();
    });
    const std::lock_guard lock(mutex_);
    if (++unhandled_ < kTasksOfServiceMax) {
      ReadNextLocked();
    } else {
      is_reading_ = false;
    }
  }
  // The stream is read on when the thread has come to what was read; until then it waits at the
  // service.
  void OnHandled() {
    const std::lock_guard lock(mutex_);
    --unhandled_;
    if (!is_reading_) {
      is_reading_ = true;
      ReadNextLocked();
    }
  }
  void ReadNextLocked() {
    if (!is_finished_) {
      received_ = {};
      StartRead(&received_);
    }
  }
  void OnWriteDone(bool) override {
    const std::lock_guard lock(mutex_);
    queue_.pop_front();
    waiting_.Add(-1);
    if (!is_finished_ && !queue_.empty()) {
      StartWrite(&queue_.front());
    }
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override {
    {
      const std::lock_guard lock(mutex_);
      waiting_.Add(-static_cast<std::int64_t>(queue_.size()));
      queue_.clear();
    }
    tasks_->Add([self = self_](Now now) { self->core_.Detach(now, self->peer_); });
    on_gone();
    self_.reset();
  }

  void FinishLocked(const grpc::Status& status) {
    if (!is_finished_) {
      is_finished_ = true;
      Finish(status);
    }
  }

  grpc::CallbackServerContext& context_;
  const std::set<std::string> names_;
  const PeerId peer_;
  ControlCore& core_;
  const std::shared_ptr<Tasks> tasks_;
  WaitingMessages& waiting_;
  std::shared_ptr<AttachedService> self_;
  v1::FromService received_;
  bool is_attached_ = false;
  std::mutex mutex_;
  std::deque<v1::ToService> queue_;
  bool is_finished_ = false;
  // Read, and not come to by control's thread.
  int unhandled_ = 0;
  bool is_reading_ = true;
};

class AttachmentService : public v1::Attachment::CallbackService {
 public:
  AttachmentService(ControlCore& core, std::shared_ptr<Tasks> tasks,
                    std::function<void(std::int64_t, std::int64_t)> on_queue)
      : core_(core), tasks_(std::move(tasks)), waiting_(std::move(on_queue)) {}

  grpc::ServerBidiReactor<v1::FromService, v1::ToService>* Attach(
      grpc::CallbackServerContext* context) override {
    auto service = std::make_shared<AttachedService>(*context, core_, tasks_, waiting_);
    AttachedService* const raw = service.get();
    {
      const std::lock_guard lock(mutex_);
      attached_[raw] = service;
    }
    service->on_gone = [this, raw] {
      const std::lock_guard lock(mutex_);
      attached_.erase(raw);
    };
    service->Begin(service);
    return raw;
  }

  void EndAll() {
    std::vector<std::shared_ptr<AttachedService>> services;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [raw, weak] : attached_) {
        if (std::shared_ptr<AttachedService> service = weak.lock()) {
          services.push_back(std::move(service));
        }
      }
    }
    for (const auto& service : services) {
      service->End({grpc::StatusCode::UNAVAILABLE, "control stops"});
    }
  }

 private:
  ControlCore& core_;
  const std::shared_ptr<Tasks> tasks_;
  WaitingMessages waiting_;
  std::mutex mutex_;
  std::map<AttachedService*, std::weak_ptr<AttachedService>> attached_;
};

// Runs `call` on control's thread; what it replies becomes the response. Request and response live
// until Finish. Only for the command line.
template <typename Response, typename Call>
grpc::ServerUnaryReactor* RunForOperator(Tasks& tasks, grpc::CallbackServerContext* context,
                                         Response* response, Call call) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (!NamesInCertificate(*context).contains(std::string(kOperatorName))) {
    reactor->Finish({grpc::StatusCode::PERMISSION_DENIED,
                     "the certificate is not that of `tributary`, the command line"});
    return reactor;
  }
  if (tasks.is_full()) {
    reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED,
                     "control has " + std::to_string(kTasksMax) + " tasks waiting; try again"});
    return reactor;
  }
  tasks.Add([reactor, response, call = std::move(call)](Now now) mutable {
    call(now, Reply<Response>([reactor, response](absl::StatusOr<Response> answer) {
           if (answer.ok()) {
             *response = *std::move(answer);
           }
           reactor->Finish(ToGrpc(answer.status()));
         }));
  });
  return reactor;
}

class ControlService : public v1::Control::CallbackService {
 public:
  ControlService(ControlCore& core, Tasks& tasks, ControlServer::Verifier verifier)
      : core_(core), tasks_(tasks), verifier_(std::move(verifier)) {}

  grpc::ServerUnaryReactor* Apply(grpc::CallbackServerContext* context,
                                  const v1::ApplyRequest* request,
                                  v1::ApplyResponse* response) override {
    return Run(context, response, [this, request](Now now, auto reply) {
      reply(core_.Apply(now, std::string(kOperatorName), *request));
    });
  }
  grpc::ServerUnaryReactor* ListTenants(grpc::CallbackServerContext* context,
                                        const v1::ListTenantsRequest* request,
                                        v1::ListTenantsResponse* response) override {
    return Run(context, response,
               [this, request](Now, auto reply) { reply(core_.ListTenants(*request)); });
  }
  grpc::ServerUnaryReactor* SetSyncPaused(grpc::CallbackServerContext* context,
                                          const v1::SetSyncPausedRequest* request,
                                          v1::SetSyncPausedResponse* response) override {
    return Run(context, response, [this, request](Now now, auto reply) {
      reply(core_.SetSyncPaused(now, std::string(kOperatorName), *request));
    });
  }
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const v1::StatusRequest* request,
                                      v1::StatusResponse* response) override {
    return Run(context, response,
               [this, request](Now now, auto reply) { reply(core_.GetStatus(now, *request)); });
  }
  grpc::ServerUnaryReactor* ListParked(grpc::CallbackServerContext* context,
                                       const v1::ListParkedRequest* request,
                                       v1::ListParkedResponse* response) override {
    return Run(context, response, [this, request](Now now, auto reply) {
      core_.ListParked(now, *request, std::move(reply));
    });
  }
  grpc::ServerUnaryReactor* DecideParked(grpc::CallbackServerContext* context,
                                         const v1::DecideParkedRequest* request,
                                         v1::DecideParkedResponse* response) override {
    return Run(context, response, [this, request](Now now, auto reply) {
      core_.DecideParked(now, std::string(kOperatorName), *request, std::move(reply));
    });
  }
  grpc::ServerUnaryReactor* Trace(grpc::CallbackServerContext* context,
                                  const v1::TraceRequest* request,
                                  v1::TraceResponse* response) override {
    return Run(context, response, [this, request](Now now, auto reply) {
      core_.Trace(now, *request, std::move(reply));
    });
  }
  grpc::ServerUnaryReactor* Sweep(grpc::CallbackServerContext* context,
                                  const v1::SweepRequest* request,
                                  v1::SweepResponse* response) override {
    return Run(context, response, [this, request](Now now, auto reply) {
      core_.Sweep(now, std::string(kOperatorName), *request, std::move(reply));
    });
  }
  grpc::ServerUnaryReactor* Verify(grpc::CallbackServerContext* context, const v1::VerifyRequest*,
                                   v1::VerifyResponse* response) override {
    return Run(context, response, [this](Now, auto reply) {
      if (verifier_) {
        verifier_(std::move(reply));
      } else {
        reply(
            absl::UnimplementedError("this control cannot read the topics; run `tributary verify "
                                     "--config FILE`"));
      }
    });
  }
  grpc::ServerUnaryReactor* GetBuildInfo(grpc::CallbackServerContext* context,
                                         const v1::BuildInfoRequest*,
                                         v1::BuildInfo* response) override {
    return Run(context, response, [this](Now, auto reply) { reply(core_.build()); });
  }

 private:
  template <typename Response, typename Call>
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, Response* response,
                                Call call) {
    return RunForOperator(tasks_, context, response, std::move(call));
  }

  ControlCore& core_;
  Tasks& tasks_;
  const ControlServer::Verifier verifier_;
};

class PortabilityService : public v1::Portability::CallbackService {
 public:
  PortabilityService(ControlCore& core, Tasks& tasks) : core_(core), tasks_(tasks) {}

  grpc::ServerUnaryReactor* ExportTenant(grpc::CallbackServerContext* context,
                                         const v1::ExportTenantRequest* request,
                                         v1::ExportedTenant* response) override {
    return RunForOperator(tasks_, context, response, [this, request](Now now, auto reply) {
      reply(core_.ExportTenant(now, std::string(kOperatorName), *request));
    });
  }
  grpc::ServerUnaryReactor* ImportTenant(grpc::CallbackServerContext* context,
                                         const v1::ImportTenantRequest* request,
                                         v1::ApplyResponse* response) override {
    return RunForOperator(tasks_, context, response, [this, request](Now now, auto reply) {
      reply(core_.ImportTenant(now, std::string(kOperatorName), *request));
    });
  }
  grpc::ServerUnaryReactor* CopyDatabase(grpc::CallbackServerContext* context,
                                         const v1::CopyDatabaseRequest*,
                                         v1::CopyDatabaseResponse* response) override {
    return RunForOperator(tasks_, context, response, [this](Now now, auto reply) {
      reply(core_.CopyDatabase(now, std::string(kOperatorName)));
    });
  }

 private:
  ControlCore& core_;
  Tasks& tasks_;
};

}  // namespace

struct ControlServer::State {
  std::shared_ptr<Tasks> tasks;
  AttachmentService attachment;
  ControlService control;
  PortabilityService portability;
  std::unique_ptr<grpc::Server> server;
  int port = 0;

  State(ControlServerOptions& options, ControlCore& core, Post post, Verifier verifier)
      : tasks(std::make_shared<Tasks>(std::move(post), std::move(options.on_tasks))),
        attachment(core, tasks, std::move(options.on_queue)),
        control(core, *tasks, std::move(verifier)),
        portability(core, *tasks) {}
};

ControlServer::ControlServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

absl::StatusOr<std::unique_ptr<ControlServer>> ControlServer::Start(ControlServerOptions options,
                                                                    ControlCore& core, Post post,
                                                                    Verifier verifier) {
  auto state = std::make_unique<State>(options, core, std::move(post), std::move(verifier));
  grpc::SslServerCredentialsOptions ssl(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  ssl.pem_root_certs = options.identity.ca_pem;
  ssl.pem_key_cert_pairs = {{options.identity.key_pem, options.identity.cert_pem}};
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options.listen, grpc::SslServerCredentials(ssl), &state->port);
  builder.RegisterService(&state->attachment);
  builder.RegisterService(&state->control);
  builder.RegisterService(&state->portability);
  builder.SetMaxReceiveMessageSize(options.message_bytes_max);
  builder.SetMaxSendMessageSize(std::max(options.message_bytes_max, kSentBytesMax));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 100);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 8192);
  // Two controls must not share a port by accident.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 30'000);
  state->server = builder.BuildAndStart();
  if (state->server == nullptr || state->port == 0) {
    return absl::UnavailableError("control cannot listen on " + options.listen +
                                  ": the address is taken, or cannot be used here");
  }
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(state)));
}

ControlServer::~ControlServer() {
  state_->attachment.EndAll();
  // Those that do not end by themselves are cancelled then.
  state_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
  state_->server->Wait();
}

int ControlServer::port() const { return state_->port; }

}  // namespace tributary::control
