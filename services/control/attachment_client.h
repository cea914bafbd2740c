#pragma once

#include <functional>
#include <memory>
#include <string>

#include "libs/stage/stage.h"
#include "libs/tls/tls.h"

namespace tributary::control {

struct AttachmentOptions {
  /// `127.0.0.1:7460`
  std::string address;
  tls::Identity identity;
  std::int32_t message_bytes_max = 4 << 20;
  /// Between two tries to reach control: a random part of a bound that doubles.
  Duration retry_delay_min = std::chrono::milliseconds(200);
  Duration retry_delay_max = std::chrono::seconds(30);
  /// Told how many messages wait to be written, and at how many the stream ends. From any thread.
  std::function<void(std::int64_t depth, std::int64_t capacity)> on_queue;
  /// Told how many bytes each status has before it is made to fit, and how many may be sent. From
  /// any thread.
  std::function<void(std::int64_t depth, std::int64_t capacity)> on_status;
};

/// A service's way to a control in another process: one gRPC stream over mutual TLS for as long as
/// the service runs. While control is away it keeps what control must know when it is back: the
/// last hello, ownership and status, the newest report of each connection, and every request for a
/// credential that was not answered. Answers to questions are dropped: who asked is gone. A status
/// that is larger than a message is made to fit (status_size.h).
///
/// Send may be called from any thread and only queues.
class AttachmentClient : public ControlPort {
 public:
  /// `deliver` is called on a thread of gRPC's, must not wait, and may be called until the
  /// destructor returns.
  AttachmentClient(AttachmentOptions options, Logger& logger,
                   std::function<void(const v1::ToService&)> deliver);
  ~AttachmentClient() override;

  void Send(const v1::FromService& message) override;
  bool is_attached() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tributary::control
