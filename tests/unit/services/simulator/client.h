#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "libs/json/value.h"
#include "services/simulator/world.h"

namespace tributary::simulator {

inline constexpr WallTime kStart{std::chrono::seconds(1'790'000'000)};

inline std::string Base64(std::string_view text) {
  static constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      bits = bits << 8u | (i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      out.push_back(i + k > text.size() ? '=' : kLetters[bits >> (18u - 6u * k) & 63u]);
    }
  }
  return out;
}

/// A world and a time, and requests as a careful client sends them.
class Client {
 public:
  explicit Client(WorldOptions options) : world(std::move(options)), now(world.options().start) {}

  Answer Ask(Target target, std::string method, std::string url, http::Headers headers,
             std::string body = "") {
    http::Request request;
    request.method = std::move(method);
    request.url = std::move(url);
    request.headers = std::move(headers);
    request.body = std::move(body);
    Answer answer = world.Handle(now, target, request);
    now += answer.delay;
    return answer;
  }

  Answer Chargify(const std::string& path) {
    return Ask(Target::kChargify, "GET", "http://127.0.0.1:1" + path,
               {{"Authorization", "Basic " + Base64(world.access().chargify_key + ":x")}});
  }
  Answer HighLevel(const std::string& method, const std::string& path,
                   const std::string& body = "") {
    return Ask(
        Target::kHighLevel, method, path,
        {{"Authorization", "Bearer " + world.access().highlevel_token}, {"Version", "2021-07-28"}},
        body);
  }
  Answer Rest(const std::string& method, const std::string& path, const std::string& body = "") {
    if (token_.empty()) {
      const Answer answer =
          Ask(Target::kRest, "POST", "/auth",
              {{"Authorization", "Basic " + Base64(world.access().rest_key + ":")}});
      token_ = *json::Parse(answer.body)->Find("token")->string();
    }
    return Ask(Target::kRest, method, path,
               {{"Authorization", "Bearer " + token_}, {"Content-Type", "application/json"}}, body);
  }

  /// Documents of a list, without their wrappers.
  std::vector<json::Value> List(const std::string& path, const std::string& wrapper) {
    const Answer answer = Chargify(path);
    EXPECT_EQ(answer.status, 200) << answer.body;
    const json::Value body = *json::Parse(answer.body);
    std::vector<json::Value> rows;
    const json::Value* list = body.array() != nullptr ? &body : body.Find(wrapper);
    for (const json::Value& row : *list->array()) {
      rows.push_back(body.array() != nullptr ? *row.Find(wrapper) : row);
    }
    return rows;
  }

  World world;
  WallTime now;

 private:
  std::string token_;
};

/// Nothing changes by itself, everything is visible at once.
inline WorldOptions Quiet(std::int32_t customers) {
  WorldOptions options;
  options.seed = 5;
  options.customers = customers;
  options.start = kStart;
  options.switches.late_visibility = false;
  options.switches.unstable_ties = false;
  return options;
}

inline json::Value BodyOf(const Answer& answer) {
  const auto body = json::Parse(answer.body);
  EXPECT_TRUE(body.ok()) << answer.body;
  return body.ok() ? *body : json::Value();
}

inline std::string TextAt(const json::Value& document, std::string_view path) {
  const json::Value* value = document.FindPath(path);
  return value == nullptr ? "" : value->ToIdText().value_or("");
}

}  // namespace tributary::simulator
