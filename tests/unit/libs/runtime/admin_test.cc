#include "libs/runtime/admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/http/client.h"

namespace tributary::runtime {
namespace {

class AdminTest : public ::testing::Test {
 protected:
  AdminTest() {
    v1::AdminConfig config;
    config.set_listen("127.0.0.1:0");
    auto server = StartAdmin(config, {.metrics = &metrics_,
                                      .not_ready_because = [this] { return not_ready_; },
                                      .not_alive_because = [this] { return not_alive_; }});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  http::Completion Get(const std::string& path, const std::string& method = "GET") {
    http::Client client({}, [](http::RequestId) { return true; });
    client.Send(1, {.method = method,
                    .url = server_->url() + path,
                    .timeout = std::chrono::seconds(5),
                    .allow_insecure_loopback = true});
    for (;;) {
      auto ended = client.Poll({}, std::chrono::milliseconds(100));
      if (!ended.empty()) return std::move(ended.front());
    }
  }

  observe::Metrics metrics_;
  std::vector<std::string> not_ready_;
  std::string not_alive_;
  std::unique_ptr<http::Server> server_;
};

TEST_F(AdminTest, IsAliveWhileNotReadyAndSaysWhy) {
  not_ready_ = {"partition 3: reading changes", "draining"};

  EXPECT_EQ(Get("/livez").status, 200);
  for (const char* path : {"/readyz", "/healthz"}) {
    const http::Completion answer = Get(path);
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.body, "partition 3: reading changes\ndraining\n");
  }
  not_ready_.clear();
  EXPECT_EQ(Get("/readyz").status, 200);
}

TEST_F(AdminTest, IsNotAliveWhenItsThreadIsStuck) {
  not_alive_ = "one turn takes 301 s";

  EXPECT_EQ(Get("/livez").status, 503);
}

TEST_F(AdminTest, ShowsMetricsWithTheContentTypeThatPrometheusWants) {
  metrics_.AddCounter("tributary_things_total", "Things.").Increment();

  const http::Completion answer = Get("/metrics");

  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(*http::FindHeader(answer.headers, "Content-Type"),
            "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_THAT(answer.body, ::testing::HasSubstr("tributary_things_total 1\n"));
}

TEST_F(AdminTest, RefusesTheRest) {
  EXPECT_EQ(Get("/").status, 404);
  EXPECT_EQ(Get("/metrics", "POST").status, 405);
  v1::AdminConfig config;
  config.set_listen("nowhere");
  EXPECT_EQ(StartAdmin(config, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tributary::runtime
