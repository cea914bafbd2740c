#include "services/control/verifications.h"

#include <chrono>
#include <utility>

namespace tributary::control {
namespace {

absl::Status Stops() {
  return absl::UnavailableError("control stops; verify again when it is back");
}

}  // namespace

Verifications::Verifications(std::function<verify::Reader()> make_reader, Duration action_age)
    : make_reader_(std::move(make_reader)), action_age_(action_age) {}

Verifications::~Verifications() {
  if (thread_.joinable()) {
    thread_.join();
  }
}

void Verifications::Start(Reply<v1::VerifyResponse> reply) {
  if (is_stopping_) {
    reply(Stops());
    return;
  }
  if (is_running_.exchange(true)) {
    reply(absl::UnavailableError("a verification is running; try again when it has ended"));
    return;
  }
  if (thread_.joinable()) {
    thread_.join();
  }
  thread_ = std::thread([this, reply = std::move(reply)] {
    absl::StatusOr<v1::VerifyResponse> response = Verify();
    is_running_ = false;
    reply(std::move(response));
  });
}

void Verifications::Stop() { is_stopping_ = true; }

absl::StatusOr<v1::VerifyResponse> Verifications::Verify() const {
  const verify::Reader reader = make_reader_();
  const auto read_all = [&](eventlog::Topic topic,
                            const std::function<bool(const eventlog::Record&)>& visit) {
    absl::Status status = reader.read_all(
        topic, [&](const eventlog::Record& record) { return !is_stopping_ && visit(record); });
    return is_stopping_ ? Stops() : status;
  };
  return verify::Verify({.partitions = reader.partitions, .read_all = read_all},
                        {.action_age = action_age_,
                         .wait = [] { std::this_thread::sleep_for(std::chrono::seconds(3)); }});
}

}  // namespace tributary::control
