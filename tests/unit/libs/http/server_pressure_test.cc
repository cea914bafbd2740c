#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "libs/http/server.h"
#include "tests/unit/libs/http/raw_socket.h"

// A server whose clients are slow, many, greedy or silent: it goes on answering the others.

namespace tributary::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::EndsWith;
using testing::Socket;
using ::testing::StartsWith;

const std::string kGet = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

class ServerPressureTest : public ::testing::Test {
 protected:
  void Start(ServerOptions options, std::string body = "hello") {
    Serve(std::move(options),
          [body = std::move(body)](ServerRequest, Respond respond) { respond({.body = body}); });
  }
  void Serve(ServerOptions options, AsyncHandler handler) {
    options.counters = counters_;
    auto server = Server::Start(std::move(options), std::move(handler));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::unique_ptr<Socket> Connect() { return Socket::Connect(server_->port()); }
  /// A whole exchange on a connection of its own. Empty: not answered.
  std::string Scrape() {
    const auto socket = Connect();
    if (socket == nullptr) return "";
    socket->Write("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    return socket->ReadToEnd();
  }
  static bool Eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 1'000 && !holds(); ++i) std::this_thread::sleep_for(milliseconds(10));
    return holds();
  }

  const std::shared_ptr<ServerCounters> counters_ = std::make_shared<ServerCounters>();
  std::unique_ptr<Server> server_;
};

/// Sends bytes one by one until the server has closed. False: it has not, for a long time.
bool DripsUntilClosed(Socket& socket, std::string_view begin, std::string_view drip) {
  socket.Write(begin);
  for (int i = 0; i < 1'000; ++i) {
    pollfd wait{.fd = socket.fd(), .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, 10) > 0) {
      char byte = 0;
      return recv(socket.fd(), &byte, 1, 0) <= 0;
    }
    socket.Write(drip);
  }
  return false;
}

TEST_F(ServerPressureTest, ByteByByteIsNoWayToHoldAConnection) {
  ServerOptions options;
  options.header_timeout = milliseconds(200);
  options.request_timeout = milliseconds(200);
  Start(options);

  EXPECT_TRUE(DripsUntilClosed(*Connect(), "GET / HTTP/1.1\r\nX: ", "y"));
  EXPECT_TRUE(DripsUntilClosed(*Connect(), "GET / HTTP/1.1\r\n", "X: y\r\n"));
  EXPECT_TRUE(DripsUntilClosed(
      *Connect(), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n", "y"));
  EXPECT_TRUE(DripsUntilClosed(*Connect(),
                               "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
                               "1\r\ny\r\n"));
  const auto kept = Connect();
  kept->Write(kGet);
  EXPECT_THAT(kept->ReadUntil("hello"), EndsWith("hello"));
  EXPECT_TRUE(DripsUntilClosed(*kept, "G", "E")) << "the second request of a connection";

  EXPECT_EQ(counters_->connections_timed_out, 5);
  EXPECT_THAT(Scrape(), EndsWith("hello"));
}

TEST_F(ServerPressureTest, AnAnswerThatNobodyReadsIsGivenUp) {
  ServerOptions options;
  options.request_timeout = milliseconds(200);
  Start(options, std::string(16u << 20, 'x'));
  const auto reader = Connect();
  reader->Write(kGet);
  EXPECT_TRUE(Eventually([&] { return counters_->connections_timed_out == 1; }));
  EXPECT_TRUE(Eventually([&] { return counters_->connections_open == 0; }));
  EXPECT_EQ(counters_->unsent_bytes, 0);
}

TEST_F(ServerPressureTest, AnswersThatNobodyReadsHaveALimitTogether) {
  ServerOptions options;
  options.unsent_bytes_max = 40u << 20;
  options.request_timeout = seconds(120);
  Start(options, std::string(16u << 20, 'x'));
  std::vector<std::unique_ptr<Socket>> readers;
  for (int i = 0; i < 2; ++i) {
    readers.push_back(Connect());
    readers.back()->Write(kGet);
    EXPECT_TRUE(Eventually([&] { return counters_->unsent_bytes >= (i + 1) * (16 << 20); }));
  }

  EXPECT_THAT(Scrape(), StartsWith("HTTP/1.1 503 "));
  EXPECT_EQ(counters_->requests_refused, 1);
  readers.clear();
  EXPECT_TRUE(Eventually([&] { return counters_->unsent_bytes == 0; }));
  EXPECT_THAT(Scrape(), StartsWith("HTTP/1.1 200 "));
}

TEST_F(ServerPressureTest, WhoHasKeptItWaitingLongestGivesWay) {
  ServerOptions options;
  options.connections_max = 3;
  Start(options);
  const auto used = Connect();
  used->Write(kGet);
  EXPECT_THAT(used->ReadUntil("hello"), EndsWith("hello"));
  const auto first = Connect();
  first->Write("GET / HT");
  const auto second = Connect();
  EXPECT_TRUE(Eventually([&] { return counters_->connections_accepted == 3; }));

  EXPECT_THAT(Scrape(), EndsWith("hello"));
  EXPECT_EQ(first->ReadToEnd(), "") << "it came before the other one that never asked";
  EXPECT_EQ(counters_->connections_displaced, 1);

  // Those that have asked go last.
  EXPECT_TRUE(Eventually([&] { return counters_->connections_open == 2; }));
  const auto third = Connect();
  const auto fourth = Connect();
  EXPECT_EQ(second->ReadToEnd(), "");
  used->Write(kGet);
  EXPECT_THAT(used->ReadUntil("hello"), EndsWith("hello"));
  EXPECT_EQ(counters_->connections_refused, 0);
}

TEST_F(ServerPressureTest, ANewConnectionIsClosedWhenAllAreBeingServed) {
  std::mutex mutex;
  std::deque<Respond> held;
  ServerOptions options;
  options.connections_max = 2;
  Serve(options, [&](ServerRequest, Respond respond) {
    const std::lock_guard lock(mutex);
    held.push_back(std::move(respond));
  });
  const auto held_count = [&] {
    const std::lock_guard lock(mutex);
    return held.size();
  };
  const auto first = Connect();
  const auto second = Connect();
  first->Write(kGet);
  second->Write(kGet);
  EXPECT_TRUE(Eventually([&] { return held_count() == 2; }));

  EXPECT_EQ(Scrape(), "");
  EXPECT_EQ(counters_->connections_refused, 1);
  EXPECT_EQ(counters_->connections_displaced, 0);
  {
    const std::lock_guard lock(mutex);
    for (const Respond& respond : held) respond({.body = "hello"});
  }
  EXPECT_THAT(first->ReadUntil("hello"), EndsWith("hello"));
  EXPECT_THAT(second->ReadUntil("hello"), EndsWith("hello"));
  server_.reset();
}

TEST_F(ServerPressureTest, APipelineIsAnsweredInOrderAndKeepsNobodyElseWaiting) {
  ServerOptions options;
  options.requests_per_connection_max = 1'000;
  Serve(options,
        [](ServerRequest request, Respond respond) { respond({.body = request.path + "\n"}); });
  const auto greedy = Connect();
  std::string burst;
  std::string expected;
  for (int i = 0; i < 1'000; ++i) {
    burst += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n";
    expected += "/" + std::to_string(i) + "\n";
  }
  greedy->Write(burst);
  EXPECT_THAT(Scrape(), EndsWith("/\n"));

  std::string bodies;
  const std::string all = greedy->ReadToEnd();
  for (std::size_t at = all.find("\r\n\r\n"); at != std::string::npos;) {
    const std::size_t end = all.find('\n', at + 4);
    bodies += all.substr(at + 4, end - at - 3);
    at = all.find("\r\n\r\n", end);
  }
  EXPECT_EQ(bodies, expected);
}

TEST_F(ServerPressureTest, WithoutDescriptorsThoseThatWaitGiveTheirs) {
  ServerOptions options;
  options.header_timeout = seconds(300);
  Start(options);
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit few{.rlim_cur = std::min<rlim_t>(before.rlim_cur, 256), .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto silent = Connect();
  EXPECT_TRUE(Eventually([&] { return counters_->connections_open == 1; }));
  std::vector<int> fillers;
  for (int fd = dup(0); fd >= 0; fd = dup(0)) fillers.push_back(fd);
  ASSERT_FALSE(fillers.empty());
  // One for the client, none for the server.
  close(fillers.back());
  fillers.pop_back();

  EXPECT_THAT(Scrape(), EndsWith("hello"));
  EXPECT_EQ(silent->ReadToEnd(), "");
  EXPECT_GE(counters_->accept_failures, 1);
  for (const int fd : fillers) close(fd);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_THAT(Scrape(), EndsWith("hello"));
}

}  // namespace
}  // namespace tributary::http
