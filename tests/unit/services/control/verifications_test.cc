#include "services/control/verifications.h"

#include <future>
#include <memory>

#include <gtest/gtest.h>

namespace tributary::control {
namespace {

// A log whose end never comes.
verify::Reader Endless(std::promise<void>& begun) {
  return {.partitions = 1,
          .read_all = [&begun](eventlog::Topic,
                               const std::function<bool(const eventlog::Record&)>& visit) {
            begun.set_value();
            while (visit({})) {
              std::this_thread::yield();
            }
            return absl::OkStatus();
          }};
}

TEST(VerificationsTest, OneThatRunsEndsWhenControlStops) {
  std::promise<void> begun;
  std::promise<absl::Status> answered;
  Verifications verifications([&] { return Endless(begun); }, std::chrono::hours(1));
  verifications.Start([&](const absl::StatusOr<v1::VerifyResponse>& response) {
    answered.set_value(response.status());
  });
  begun.get_future().wait();

  absl::Status second;
  verifications.Start(
      [&](const absl::StatusOr<v1::VerifyResponse>& response) { second = response.status(); });
  EXPECT_EQ(second.message(), "a verification is running; try again when it has ended");

  verifications.Stop();

  const absl::Status first = answered.get_future().get();
  EXPECT_EQ(first.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(first.message(), "control stops; verify again when it is back");
  absl::Status third;
  verifications.Start(
      [&](const absl::StatusOr<v1::VerifyResponse>& response) { third = response.status(); });
  EXPECT_EQ(third.message(), first.message());
}

}  // namespace
}  // namespace tributary::control
