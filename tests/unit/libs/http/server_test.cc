#include "libs/http/server.h"

#include <condition_variable>
#include <mutex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/libs/http/raw_socket.h"

namespace tributary::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::Socket;
using ::testing::StartsWith;

class ServerTest : public ::testing::Test {
 protected:
  void Start(ServerOptions options = {}) {
    auto server = Server::Start(options, SyncHandler([this](const ServerRequest& request) {
                                  const std::lock_guard lock(mutex_);
                                  seen_.push_back(request);
                                  return response_;
                                }));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::unique_ptr<Socket> Connect() { return Socket::Connect(server_->port()); }
  /// Everything that is answered to these bytes until the server closes.
  std::string Exchange(std::string_view bytes) {
    const auto socket = Connect();
    socket->Write(bytes);
    return socket->ReadToEnd();
  }
  /// What the handler answers from now on.
  void Change(const std::function<void(ServerResponse&)>& change) {
    const std::lock_guard lock(mutex_);
    change(response_);
  }
  std::size_t seen() {
    const std::lock_guard lock(mutex_);
    return seen_.size();
  }

  std::mutex mutex_;
  std::vector<ServerRequest> seen_;
  ServerResponse response_{.body = "hello"};
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, GivesTheHandlerTheWholeRequestAndSendsItsAnswer) {
  Start();

  const std::string answer = Exchange(
      "POST /a/b?x=1&y=%2F HTTP/1.1\r\nHost: h\r\nX-Key: v\r\nContent-Length: 3\r\n"
      "Connection: close\r\n\r\nabc");

  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nhello"));
  ASSERT_EQ(seen_.size(), 1U);
  EXPECT_EQ(seen_[0].method, "POST");
  EXPECT_EQ(seen_[0].path, "/a/b");
  EXPECT_EQ(seen_[0].query, "x=1&y=%2F");
  EXPECT_EQ(seen_[0].body, "abc");
  EXPECT_EQ(*FindHeader(seen_[0].headers, "x-key"), "v");
}

TEST_F(ServerTest, TakesChunksAndPipelinedRequestsInOrder) {
  Start();

  const std::string answer = Exchange(
      "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
      "chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
      "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"
      "GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

  EXPECT_THAT(answer, EndsWith("hello"));
  ASSERT_EQ(seen_.size(), 3U);
  EXPECT_EQ(seen_[0].body, "abc");
  EXPECT_EQ(seen_[1].path, "/2");
  EXPECT_EQ(seen_[2].path, "/3");
}

TEST_F(ServerTest, RefusesWhatTwoReadersCouldFrameDifferently) {
  const std::string kChunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  Start();
  const std::vector<std::string> requests = {
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: "
      "chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
      "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: h\nX: a\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1x\r\n\r\n",
      "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
      "nonsense\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: "
      "5\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc",
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc",
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc",
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551619\r\n\r\nabc",
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length :3\r\n\r\nabc",
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\n Content-Length: 3\r\n\r\nabc",
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked"
      "\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0b"
      "chunked\r\n\r\n0\r\n\r\n",
      "GET / HTTP/1.1\nHost: h\n\n",
      "GET / HTTP/1.1\r\nHost: h\rX: a\r\n\r\n",
      std::string("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 35),
      "GET / HTTP/1.1\r\nHost: h\r\nX\x80: a\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
      "GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET / HTTP/1.10\r\nHost: h\r\n\r\n",
      "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
      "GET /\r\n\r\n",
      "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
      "G\tET / HTTP/1.1\r\nHost: h\r\n\r\n",
      // Chunks.
      kChunked + "fffffffffffffffff\r\na",
      kChunked + "100000000\r\na",
      kChunked + "2;a=b\r\nab\r\n0\r\n\r\n",
      kChunked + "2 \r\nab\r\n0\r\n\r\n",
      kChunked + "0x2\r\nab\r\n0\r\n\r\n",
      kChunked + "-2\r\nab\r\n0\r\n\r\n",
      kChunked + "\r\nab\r\n0\r\n\r\n",
      kChunked + "2\nab\r\n0\r\n\r\n",
      kChunked + "2\r\nabc\r\n0\r\n\r\n",
      kChunked + "2\r\nab\n0\r\n\r\n",
      kChunked + "0\r\nX: a\n\r\n",
      kChunked + "0\r\nno colon\r\n\r\n",
      kChunked + "0\r\nX: y\r\n\r\n",
      kChunked + "0\r\nTransfer-Encoding: chunked\r\n\r\n",
      kChunked + "0\r\nContent-Length: 40\r\n\r\n",
  };
  for (const std::string& request : requests) {
    const std::string answer = Exchange(request + "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");

    EXPECT_THAT(answer, StartsWith("HTTP/1.1 400 ")) << request;
    EXPECT_THAT(answer, HasSubstr("Connection: close\r\n")) << request;
  }
  EXPECT_EQ(seen(), 0U);
}

TEST_F(ServerTest, RefusesWhatIsTooLarge) {
  ServerOptions options;
  options.header_bytes_max = 1'024;
  options.body_bytes_max = 1'000;
  options.headers_max = 10;
  Start(options);

  EXPECT_THAT(Exchange("GET /" + std::string(2'000, 'x') + " HTTP/1.1\r\nHost: h\r\n\r\n"),
              StartsWith("HTTP/1.1 431 "));
  std::string many = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 20; ++i) many += "X: y\r\n";
  EXPECT_THAT(Exchange(many + "\r\n"), StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(Exchange("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(Exchange("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" +
                       std::string(1'001, 'x') + "\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
  const std::string chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  std::string thousand_chunks = chunked;
  for (int i = 0; i < 1'001; ++i) thousand_chunks += "1\r\nx\r\n";
  EXPECT_THAT(Exchange(thousand_chunks + "0\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(Exchange(chunked + std::string(2'000, '0')), StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(Exchange(chunked + "0\r\nX: " + std::string(2'000, 'y') + "\r\n\r\n"),
              StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(Exchange("GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(10'000, 'x')),
              StartsWith("HTTP/1.1 431 "))
      << "a line without an end";
  EXPECT_EQ(seen(), 0U);
}

TEST_F(ServerTest, ClosesOnClientsThatAreTooSlow) {
  ServerOptions options;
  options.header_timeout = milliseconds(100);
  options.request_timeout = milliseconds(100);
  options.idle_timeout = milliseconds(100);
  Start(options);

  EXPECT_EQ(Exchange("GET / HTTP/1.1\r\nHo"), "") << "half a header";
  EXPECT_EQ(Exchange("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na"), "");
  EXPECT_THAT(Exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), EndsWith("hello")) << "then idle";
}

TEST_F(ServerTest, ClosesAConnectionAfterItsRequests) {
  ServerOptions options;
  options.requests_per_connection_max = 2;
  Start(options);
  const auto socket = Connect();

  socket->Write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(socket->ReadUntil("hello"), HasSubstr("Connection: keep-alive"));
  socket->Write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(socket->ReadToEnd(), HasSubstr("Connection: close"));
}

TEST_F(ServerTest, BreaksAnswersAsASimulatorAsks) {
  Start();
  constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  using Fault = ServerResponse::Fault;

  Change([](ServerResponse& response) { response.fault = Fault::kReset; });
  EXPECT_EQ(Exchange(kGet), "");
  Change([](ServerResponse& response) { response.fault = Fault::kClose; });
  EXPECT_EQ(Exchange(kGet), "");
  Change([](ServerResponse& response) { response.fault = Fault::kTruncate; });
  EXPECT_THAT(Exchange(kGet), AllOf(HasSubstr("Content-Length: 5"), EndsWith("\r\n\r\nhe")));
  Change([](ServerResponse& response) { response.fault = Fault::kUnframed; });
  EXPECT_THAT(Exchange(kGet), AllOf(Not(HasSubstr("Content-Length")), EndsWith("\r\n\r\nhello")));
  Change([](ServerResponse& response) { response.fault = Fault::kHang; });
  const auto hanging = Connect();
  hanging->Write(kGet);
  EXPECT_EQ(hanging->ReadSome(/*timeout_ms=*/100), "");
  Change([](ServerResponse& response) { response = {.body = "late", .delay = milliseconds(50)}; });
  const auto before = std::chrono::steady_clock::now();
  const auto delayed = Connect();
  delayed->Write(kGet);
  EXPECT_THAT(delayed->ReadUntil("late"), EndsWith("late"));
  EXPECT_GE(std::chrono::steady_clock::now() - before, milliseconds(50));
}

TEST_F(ServerTest, OmitsTheBodyForHeadAnd204) {
  Start();

  EXPECT_THAT(Exchange("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
              AllOf(HasSubstr("Content-Length: 5\r\n"), EndsWith("\r\n\r\n")));
  Change([](ServerResponse& response) { response.status = 204; });
  EXPECT_THAT(Exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
              AllOf(Not(HasSubstr("Content-Length")), EndsWith("\r\n\r\n")));
}

TEST_F(ServerTest, DropsAnAnswersHeaderThatWouldSplitIt) {
  Start();
  Change([](ServerResponse& response) {
    response.headers = {{"X-Good", "1"}, {"X-Bad", "a\r\nX-Evil: 1"}, {"Date", "some day"}};
  });

  const std::string answer = Exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

  EXPECT_THAT(answer, AllOf(HasSubstr("X-Good: 1"), Not(HasSubstr("Evil"))));
  EXPECT_THAT(answer, HasSubstr("Date: some day\r\n"));
  EXPECT_EQ(answer.find("Date:"), answer.rfind("Date:"));
}

TEST(AsyncServerTest, AnswersFromAnotherThreadAndIgnoresWhatComesTooLate) {
  std::mutex mutex;
  std::condition_variable arrived;
  std::vector<Respond> waiting;
  auto server = Server::Start(ServerOptions{}, [&](ServerRequest, Respond respond) {
    const std::lock_guard lock(mutex);
    waiting.push_back(std::move(respond));
    arrived.notify_all();
  });
  ASSERT_TRUE(server.ok());
  const auto wait_for = [&](std::size_t count) {
    std::unique_lock lock(mutex);
    return arrived.wait_for(lock, seconds(5), [&] { return waiting.size() == count; });
  };
  const auto socket = Socket::Connect((*server)->port());
  socket->Write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(wait_for(1));

  waiting[0]({.body = "once"});
  waiting[0]({.body = "twice"});
  EXPECT_THAT(socket->ReadUntil("once"), EndsWith("once"));
  EXPECT_EQ(socket->ReadSome(/*timeout_ms=*/50), "");

  socket->Write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(wait_for(2));
  (*server)->Stop();
  waiting[1]({.body = "too late"});
  EXPECT_EQ(socket->ReadSome(), "");
}

TEST(ServerStartTest, SaysWhichAddressCannotBeListenedOn) {
  auto first = Server::Start(ServerOptions{},
                             SyncHandler([](const ServerRequest&) { return ServerResponse{}; }));
  ASSERT_TRUE(first.ok());
  ServerOptions taken;
  taken.port = (*first)->port();

  const auto second =
      Server::Start(taken, SyncHandler([](const ServerRequest&) { return ServerResponse{}; }));

  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(std::to_string(taken.port)));
  ServerOptions malformed;
  malformed.host = "nowhere at all";
  EXPECT_EQ(Server::Start(malformed, SyncHandler()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ParseListenTest, TakesHostAndPort) {
  EXPECT_EQ(ParseListen("127.0.0.1:80"), (std::pair<std::string, std::uint16_t>("127.0.0.1", 80)));
  EXPECT_EQ(ParseListen("[::1]:0"), (std::pair<std::string, std::uint16_t>("::1", 0)));
  for (const char* text : {"127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:80", "h:8a", ""}) {
    EXPECT_EQ(ParseListen(text), std::nullopt) << text;
  }
}

TEST(QueryParameterTest, DecodesTheFirstOfThatName) {
  EXPECT_EQ(QueryParameter("a=1&b=x%2Fy+z&b=2", "b"), "x/y z");
  EXPECT_EQ(QueryParameter("a=1&flag", "flag"), "");
  EXPECT_EQ(QueryParameter("a=1", "b"), std::nullopt);
  EXPECT_EQ(QueryParameter("filter%5Bids%5D=7", "filter[ids]"), "7");
  EXPECT_EQ(PercentDecode("%zz"), std::nullopt);
  EXPECT_EQ(PercentDecode("%4"), std::nullopt);
}

}  // namespace
}  // namespace tributary::http
