#include "libs/http/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/libs/http/raw_socket.h"

namespace tributary::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ScriptedServer;
using testing::Socket;

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() { Make({}); }

  void Make(ClientOptions options) {
    client_ = std::make_unique<Client>(std::move(options), [this](RequestId id) {
      asked_.push_back(id);
      return may_send_;
    });
  }
  static Request Get(std::string url) {
    Request request;
    request.url = std::move(url);
    request.timeout = seconds(5);
    request.allow_insecure_loopback = true;
    return request;
  }
  static Request Post(std::string url, std::string body = R"({"a":1})") {
    Request request = Get(std::move(url));
    request.method = "POST";
    request.body = std::move(body);
    request.headers = {{"Content-Type", "application/json"}};
    request.is_write = true;
    return request;
  }
  /// Polls until something ends.
  Completion Wait() {
    for (int i = 0; i < 200; ++i) {
      for (Completion& completion : client_->Poll({}, milliseconds(50))) {
        ended_.push_back(std::move(completion));
      }
      if (!ended_.empty()) {
        Completion first = std::move(ended_.front());
        ended_.erase(ended_.begin());
        return first;
      }
    }
    ADD_FAILURE() << "no completion within ten seconds";
    return {};
  }
  Completion Do(Request request) {
    client_->Send(next_id_++, std::move(request));
    return Wait();
  }

  std::vector<RequestId> asked_;
  bool may_send_ = true;
  RequestId next_id_ = 1;
  std::vector<Completion> ended_;
  std::unique_ptr<Client> client_;
};

TEST_F(ClientTest, BringsTheWholeAnswerByHttp11) {
  std::string seen;
  ScriptedServer server([&](Socket& socket, int) {
    seen = socket.ReadRequest();
    socket.Write("HTTP/1.1 201 Created\r\nX-Id: 7\r\nContent-Length: 4\r\n\r\nbody");
  });

  const Completion completion = Do(Post(server.url("/things?x=1")));

  EXPECT_EQ(completion.delivery, Delivery::kComplete);
  EXPECT_EQ(completion.status, 201);
  EXPECT_EQ(completion.body, "body");
  ASSERT_NE(FindHeader(completion.headers, "x-id"), nullptr);
  EXPECT_EQ(*FindHeader(completion.headers, "x-id"), "7");
  EXPECT_THAT(seen, ::testing::StartsWith("POST /things?x=1 HTTP/1.1\r\n"));
  EXPECT_THAT(seen, ::testing::EndsWith(R"({"a":1})"));
  EXPECT_THAT(seen, ::testing::Not(::testing::HasSubstr("Expect:")));
  EXPECT_THAT(seen, ::testing::HasSubstr("Content-Type: application/json\r\n"));
}

TEST_F(ClientTest, SendsThePlainMethodsThatAreAskedFor) {
  std::vector<std::string> lines;
  ScriptedServer server([&](Socket& socket, int) {
    for (std::string request = socket.ReadRequest(); !request.empty();
         request = socket.ReadRequest()) {
      lines.push_back(request.substr(0, request.find('\r')) +
                      (request.find("Content-Type") != std::string::npos ? " typed" : ""));
      socket.Write(lines.size() == 5 ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
                                     : std::string(kOk));
    }
  });

  for (const char* method : {"PUT", "PATCH", "DELETE", "GET", "HEAD"}) {
    Request request = Get(server.url());
    request.method = method;
    request.is_write = request.method.size() != 3 || request.method == "PUT";
    EXPECT_EQ(Do(std::move(request)).delivery, Delivery::kComplete) << method;
  }
  client_.reset();

  EXPECT_THAT(lines,
              ::testing::ElementsAre("PUT / HTTP/1.1", "PATCH / HTTP/1.1", "DELETE / HTTP/1.1",
                                     "GET / HTTP/1.1", "HEAD / HTTP/1.1"));
}

// Protocol rule 16. Without the guard this server counts two and the caller sees one success.
TEST_F(ClientTest, TransmitsAWriteOnceWhenAReusedConnectionDiesBehindIt) {
  std::atomic<int> posts = 0;
  ScriptedServer server([&](Socket& socket, int connection) {
    if (connection > 0) {
      if (!socket.ReadRequest().empty()) ++posts;
      socket.Write(kOk);
      return;
    }
    EXPECT_FALSE(socket.ReadRequest().empty());
    socket.Write(kOk);
    if (!socket.ReadRequest().empty()) ++posts;
    // Closed without an answer.
  });
  EXPECT_EQ(Do(Get(server.url())).delivery, Delivery::kComplete);

  const Completion completion = Do(Post(server.url()));

  EXPECT_EQ(completion.delivery, Delivery::kBroken);
  EXPECT_FALSE(completion.refused_at_send);
  EXPECT_THAT(asked_, ::testing::ElementsAre(1, 2));
  EXPECT_EQ(posts, 1);
  EXPECT_EQ(Classify(completion, false, false, WallTime()).answer, AnswerClass::kUnknown);
}

TEST_F(ClientTest, MayRepeatAReadOnADeadConnectionAndAsksAgain) {
  ScriptedServer server([&](Socket& socket, int connection) {
    socket.ReadRequest();
    socket.Write(kOk);
    if (connection == 0) socket.ReadRequest();
  });
  Do(Get(server.url()));

  const Completion completion = Do(Get(server.url()));

  EXPECT_EQ(completion.delivery, Delivery::kComplete);
  EXPECT_THAT(asked_, ::testing::ElementsAre(1, 2, 2));
}

TEST_F(ClientTest, SaysNotSentWhenTheCheckAtTheSendRefuses) {
  std::atomic<bool> bytes_came = false;
  ScriptedServer server([&](Socket& socket, int) { bytes_came = !socket.ReadSome(200).empty(); });
  may_send_ = false;

  const Completion completion = Do(Post(server.url()));
  client_.reset();

  EXPECT_EQ(completion.delivery, Delivery::kNotSent);
  EXPECT_TRUE(completion.refused_at_send);
  EXPECT_FALSE(bytes_came);
}

TEST_F(ClientTest, SaysNotSentWhenNobodyListens) {
  std::string url;
  {
    ScriptedServer gone([](Socket&, int) {});
    url = gone.url();
  }

  const Completion completion = Do(Post(url));

  EXPECT_EQ(completion.delivery, Delivery::kNotSent);
  EXPECT_FALSE(completion.error.empty());
  EXPECT_TRUE(asked_.empty());
}

TEST_F(ClientTest, SaysBrokenWhenTheConnectionIsResetBehindTheRequest) {
  ScriptedServer server([](Socket& socket, int) {
    socket.ReadRequest();
    socket.Reset();
  });

  const Completion completion = Do(Post(server.url()));

  EXPECT_EQ(completion.delivery, Delivery::kBroken);
  EXPECT_EQ(completion.status, 0);
}

TEST_F(ClientTest, SaysBrokenWithTheStatusWhenTheBodyIsTruncated) {
  for (const char* answer :
       {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"a\"",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{\"a\"",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n"}) {
    ScriptedServer server([answer](Socket& socket, int) {
      socket.ReadRequest();
      socket.Write(answer);
    });

    const Completion completion = Do(Post(server.url()));

    EXPECT_EQ(completion.delivery, Delivery::kBroken) << answer;
    EXPECT_EQ(completion.status, 200);
  }
}

TEST_F(ClientTest, SaysBrokenWhenNoWholeHeaderOfAFinalAnswerCame) {
  for (const char* answer :
       {"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n", "HTTP/2 1010. OK\r\n\r\n"}) {
    ScriptedServer server([answer](Socket& socket, int) {
      socket.ReadRequest();
      socket.Write(answer);
    });
    for (const char* method : {"POST", "HEAD"}) {
      Request request = Post(server.url());
      request.method = method;
      if (request.method == "HEAD") request.body.clear();
      EXPECT_EQ(Do(std::move(request)).delivery, Delivery::kBroken) << method << answer;
    }
  }
}

TEST_F(ClientTest, WhatStandsBehindTheChunksChangesNothing) {
  ScriptedServer server([](Socket& socket, int) {
    socket.ReadRequest();
    socket.Write(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        "HTTP/1.1 500 No: x\r\nRetry-After: 5\r\n\r\n");
  });

  const Completion completion = Do(Post(server.url()));

  EXPECT_EQ(completion.delivery, Delivery::kComplete);
  EXPECT_EQ(completion.body, "{}");
  EXPECT_EQ(FindHeader(completion.headers, "Retry-After"), nullptr);
}

TEST_F(ClientTest, SaysNotSentWhenANameIsUnknown) {
  Make({.connect_timeout = seconds(5)});

  const Completion completion = Do(Post("https://no-such-host.invalid/"));

  EXPECT_EQ(completion.delivery, Delivery::kNotSent);
  EXPECT_FALSE(completion.error.empty());
  EXPECT_TRUE(asked_.empty());
}

// It asks for no compression, so what a server compresses nevertheless is nobody's to inflate.
TEST_F(ClientTest, InflatesNothing) {
  const std::string bomb = "\x1f\x8b\x08 as small as this";
  ScriptedServer server([&bomb](Socket& socket, int) {
    EXPECT_EQ(socket.ReadRequest().find("ccept-Encoding"), std::string::npos);
    socket.Write("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: " +
                 std::to_string(bomb.size()) + "\r\n\r\n" + bomb);
  });

  const Completion completion = Do(Get(server.url()));

  EXPECT_EQ(completion.delivery, Delivery::kComplete);
  EXPECT_EQ(completion.body, bomb);
}

TEST_F(ClientTest, TakesChunksToTheirEnd) {
  ScriptedServer server([](Socket& socket, int) {
    socket.ReadRequest();
    socket.Write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  });

  const Completion completion = Do(Post(server.url()));

  EXPECT_EQ(completion.delivery, Delivery::kComplete);
  EXPECT_EQ(completion.body, "abc");
}

TEST_F(ClientTest, ASuccessThatOnlyTheCloseEndsCountsIfItIsABracketedDocument) {
  const std::vector<std::pair<std::string, Delivery>> rows = {
      {"HTTP/1.0 200 OK\r\n\r\n {\"a\":1}\n", Delivery::kComplete},
      {"HTTP/1.1 200 OK\r\n\r\n[]", Delivery::kComplete},
      {"HTTP/1.1 200 OK\r\n\r\n", Delivery::kBroken},
      {"HTTP/1.1 200 OK\r\n\r\n{\"a\":", Delivery::kBroken},
      {"HTTP/1.1 200 OK\r\n\r\n12", Delivery::kBroken},
      {"HTTP/1.1 204 No Content\r\n\r\n", Delivery::kComplete},
      {"HTTP/1.0 422 No\r\n\r\nwrong", Delivery::kComplete},
  };
  for (const auto& [answer, delivery] : rows) {
    ScriptedServer server([&answer](Socket& socket, int) {
      socket.ReadRequest();
      socket.Write(answer);
    });
    EXPECT_EQ(Do(Post(server.url())).delivery, delivery) << answer;
    Make({});
  }
}

TEST_F(ClientTest, GivesUpAfterTheHardCap) {
  ScriptedServer server([](Socket& socket, int) {
    socket.ReadRequest();
    socket.Write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    for (int i = 0; i < 100 && socket.ReadSome(20).empty(); ++i) socket.Write("x");
  });
  Request request = Post(server.url());
  request.timeout = milliseconds(150);

  const Completion completion = Do(std::move(request));
  client_.reset();

  EXPECT_EQ(completion.delivery, Delivery::kBroken);
  EXPECT_EQ(completion.status, 200);
  EXPECT_GE(completion.elapsed, milliseconds(140));
}

TEST_F(ClientTest, RefusesABodyAndAHeaderBeyondTheirLimits) {
  ScriptedServer server([](Socket& socket, int connection) {
    socket.ReadRequest();
    socket.Write(connection == 0
                     ? "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + std::string(2'000, 'x')
                     : "HTTP/1.1 200 OK\r\nX: " + std::string(3'000, 'x') +
                           "\r\nContent-Length: 0\r\n\r\n");
  });
  ClientOptions options;
  options.header_bytes_max = 2'048;
  Make(options);
  for (int i = 0; i < 2; ++i) {
    Request request = Post(server.url());
    request.body_bytes_max = 1'999;

    const Completion completion = Do(std::move(request));

    EXPECT_EQ(completion.delivery, Delivery::kBroken);
    EXPECT_EQ(completion.error, "the answer is larger than allowed");
  }
}

TEST_F(ClientTest, FollowsARedirectOfAReadToTheSameOriginOnly) {
  ScriptedServer other([](Socket& socket, int) {
    socket.ReadRequest();
    socket.Write(kOk);
  });
  ScriptedServer server([&](Socket& socket, int) {
    for (std::string request = socket.ReadRequest(); !request.empty();
         request = socket.ReadRequest()) {
      if (request.find(" /there ") != std::string::npos) {
        socket.Write(kOk);
      } else {
        const std::string to =
            request.find(" /away ") != std::string::npos ? other.url() : std::string("/there");
        socket.Write("HTTP/1.1 302 Found\r\nLocation: " + to + "\r\nContent-Length: 0\r\n\r\n");
      }
    }
  });

  EXPECT_EQ(Do(Get(server.url("/here"))).status, 200);
  EXPECT_EQ(Do(Get(server.url("/away"))).status, 302);
  EXPECT_EQ(Do(Post(server.url("/here"))).status, 302) << "a write follows none";
  client_.reset();
}

TEST_F(ClientTest, EndsACircleOfRedirects) {
  std::atomic<int> requests = 0;
  ScriptedServer server([&](Socket& socket, int) {
    while (!socket.ReadRequest().empty()) {
      ++requests;
      socket.Write("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n");
    }
  });

  EXPECT_EQ(Do(Get(server.url())).status, 302);
  client_.reset();

  EXPECT_EQ(requests, 4) << "one and redirects_max";
}

TEST_F(ClientTest, ACancelledRequestCompletesOnce) {
  ScriptedServer server([](Socket& socket, int) {
    socket.ReadRequest();
    socket.ReadSome(2'000);
  });
  ClientOptions options;
  options.requests_per_host_max = 1;
  Make(options);
  client_->Send(1, Post(server.url()));
  client_->Send(2, Post(server.url()));
  while (asked_.empty()) client_->Poll({}, milliseconds(10));

  client_->Cancel(1);
  client_->Cancel(2);
  client_->Cancel(3);

  std::map<RequestId, Delivery> ended;
  for (const Completion& completion : client_->Poll({}, milliseconds(0))) {
    ended[completion.id] = completion.delivery;
  }
  EXPECT_THAT(ended, ::testing::ElementsAre(::testing::Pair(1, Delivery::kBroken),
                                            ::testing::Pair(2, Delivery::kNotSent)));
  EXPECT_EQ(client_->open(), 0U);
}

TEST_F(ClientTest, HasAtMostSoManyInFlightAtOneHost) {
  std::atomic<int> connections = 0;
  ScriptedServer server([&](Socket& socket, int) {
    ++connections;
    while (!socket.ReadRequest().empty()) socket.Write(kOk);
  });
  ClientOptions options;
  options.requests_per_host_max = 1;
  Make(options);
  for (RequestId id = 1; id <= 5; ++id) client_->Send(id, Get(server.url()));

  for (int i = 0; i < 5; ++i) EXPECT_EQ(Wait().delivery, Delivery::kComplete);
  client_.reset();

  EXPECT_EQ(connections, 1) << "reused, as they came one after the other";
  EXPECT_THAT(asked_, ::testing::ElementsAre(1, 2, 3, 4, 5));
}

TEST_F(ClientTest, RemembersSoManyHostsAndBringsRequestsToAllOfThem) {
  ScriptedServer server([&](Socket& socket, int) {
    while (!socket.ReadRequest().empty()) socket.Write(kOk);
  });
  std::size_t most = 0;
  for (std::size_t i = 0; i < 2 * Client::kKnownTargetsMax; ++i) {
    // Nobody listens there; each is another host.
    const std::string host =
        "127.0." + std::to_string(1 + i / 200) + "." + std::to_string(1 + i % 200);
    EXPECT_EQ(Do(Get("http://" + host + ":9/")).delivery, Delivery::kNotSent) << host;
    most = std::max(most, client_->known_targets());
    if (i % 100 == 99) {
      EXPECT_EQ(Do(Get(server.url())).delivery, Delivery::kComplete);
    }
  }
  EXPECT_EQ(most, Client::kKnownTargetsMax);
}

TEST_F(ClientTest, RefusesWhatMustNotBeSent) {
  Request plain = Get("http://127.0.0.1:9/");
  plain.allow_insecure_loopback = false;
  EXPECT_EQ(Do(std::move(plain)).error, "plain http is not allowed here");
  EXPECT_EQ(Do(Get("ftp://127.0.0.1/")).error, "neither http nor https");
  EXPECT_EQ(Do(Get("http://user:pw@127.0.0.1/")).error, "malformed URL");
  EXPECT_EQ(Do(Get("http://192.0.2.1:9/")).error, "plain http is allowed to this machine only");
  Request injected = Get("http://127.0.0.1:9/");
  injected.headers = {{"X", "a\r\nY: b"}};
  EXPECT_EQ(Do(std::move(injected)).error, "malformed header");
}

TEST_F(ClientTest, WakesFromAnotherThreadAndFromADescriptor) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  ASSERT_EQ(write(fds[1], "x", 1), 1);
  const auto before = std::chrono::steady_clock::now();

  client_->Poll({fds[0]}, seconds(30));
  std::thread waker([this] { client_->Wake(); });
  client_->Poll({}, seconds(30));
  waker.join();

  EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(20));
  close(fds[0]);
  close(fds[1]);
}

}  // namespace
}  // namespace tributary::http
