#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/runtime/admin.h"
#include "tests/unit/libs/http/raw_socket.h"

// Ten thousand connections held against a service, while Prometheus goes on scraping it.

namespace tributary::runtime {
namespace {

using http::testing::Socket;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int kConnections = 10'000;

/// Another process, with descriptors of its own, which opens connections and holds them. The
/// commands are single bytes through pipes.
class Holder {
 public:
  Holder() {
    if (pipe(commands_.data()) != 0 || pipe(reports_.data()) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) Hold();
  }
  ~Holder() {
    close(commands_[1]);
    waitpid(pid_, nullptr, 0);
    for (const int fd : {commands_[0], reports_[0], reports_[1]}) close(fd);
  }

  void Begin(std::uint16_t port) {
    if (write(commands_[1], &port, sizeof port) != sizeof port) std::abort();
  }
  /// How many are connected; waits until they are `count`, or cannot become so many.
  int Opened(int count) {
    int opened = 0;
    while (opened < count && read(reports_[0], &opened, sizeof opened) == sizeof opened) {
    }
    return opened;
  }

 private:
  [[noreturn]] void Hold() {
    close(commands_[1]);
    std::uint16_t port = 0;
    if (read(commands_[0], &port, sizeof port) != sizeof port) _exit(1);
    std::vector<std::unique_ptr<Socket>> held;
    for (int opened = 0; opened < kConnections;) {
      auto socket = Socket::Connect(port);
      if (socket == nullptr) break;
      // Silent, half a header, half a body, by turns.
      if (opened % 3 == 1) socket->Write("GET /metrics HTTP/1.1\r\nHost: h\r\nX: ");
      if (opened % 3 == 2) {
        socket->Write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab");
      }
      held.push_back(std::move(socket));
      ++opened;
      if (opened % 100 == 0 && write(reports_[1], &opened, sizeof opened) < 0) break;
    }
    // Until the test lets go.
    char byte = 0;
    while (read(commands_[0], &byte, 1) > 0) {
    }
    _exit(0);
  }

  std::array<int, 2> commands_{};
  std::array<int, 2> reports_{};
  pid_t pid_ = -1;
};

class AdminPressureTest : public ::testing::Test {
 protected:
  AdminPressureTest() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    descriptors_ = static_cast<std::size_t>(limit.rlim_cur);
    // Before any thread is there.
    holder_ = std::make_unique<Holder>();
  }
  void Start(int connections_max) {
    v1::AdminConfig config;
    config.set_listen("127.0.0.1:0");
    config.set_connections_max(connections_max);
    // Nobody is closed for being slow while this runs.
    config.mutable_request_timeout()->set_seconds(600);
    auto server = StartAdmin(config, {.metrics = &metrics_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::string Scrape() {
    const auto socket = Socket::Connect(server_->port());
    if (socket == nullptr) return "";
    socket->Write("GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    return socket->ReadToEnd();
  }
  static double Value(const std::string& exposition, const std::string& series) {
    const std::size_t at = exposition.find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::stod(exposition.substr(at + series.size() + 2));
  }

  std::size_t descriptors_ = 0;
  std::unique_ptr<Holder> holder_;
  observe::Metrics metrics_;
  std::unique_ptr<http::Server> server_;
};

TEST_F(AdminPressureTest, ScrapesAreAnsweredWhileTenThousandTryToHoldTheServer) {
  ASSERT_GT(descriptors_, kConnections + 100U) << "ulimit -Hn must allow them";
  Start(256);
  const auto kept = Socket::Connect(server_->port());

  holder_->Begin(server_->port());
  int scrapes = 0;
  for (int opened = 0; opened < kConnections; ++scrapes) {
    opened = holder_->Opened(opened + 100);
    ASSERT_THAT(Scrape(), StartsWith("HTTP/1.1 200 ")) << opened << " connections";
  }

  EXPECT_EQ(scrapes, 100);
  const std::string shown = Scrape();
  EXPECT_LE(Value(shown, "tributary_http_server_connections"), 257);
  EXPECT_GE(Value(shown, R"(tributary_http_server_connections_closed_total{reason="displaced"})"),
            kConnections - 256);
  EXPECT_EQ(Value(shown, R"(tributary_http_server_connections_closed_total{reason="refused"})"), 0);
}

TEST_F(AdminPressureTest, ScrapesAreAnsweredWhileTenThousandConnectionsAreOpen) {
  ASSERT_GT(descriptors_, kConnections + 100U) << "ulimit -Hn must allow them";
  Start(kConnections + 50);

  holder_->Begin(server_->port());
  for (int opened = 0; opened < kConnections;) {
    opened = holder_->Opened(opened + 100);
    ASSERT_THAT(Scrape(), StartsWith("HTTP/1.1 200 ")) << opened << " connections";
  }

  // The last ones may not be accepted yet.
  std::string shown;
  for (int i = 0; i < 500; ++i) {
    shown = Scrape();
    if (Value(shown, "tributary_http_server_connections") >= kConnections) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  // A half header has its own time-out, which a loaded machine may meet; then some are fewer.
  const double timed_out =
      Value(shown, R"(tributary_http_server_connections_closed_total{reason="timed_out"})");
  EXPECT_GE(Value(shown, "tributary_http_server_connections") + timed_out, kConnections);
  EXPECT_THAT(shown, HasSubstr(R"(closed_total{reason="displaced"} 0)"));
}

}  // namespace
}  // namespace tributary::runtime
