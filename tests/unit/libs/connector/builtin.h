#pragma once

#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "libs/connector/connector.h"
#include "libs/http/message.h"

namespace tributary::connector {

/// A shipped connector file, as it is compiled in.
inline Connector Builtin(const std::string& name) {
  const std::string* const file = BuiltinFile(name);
  EXPECT_NE(file, nullptr) << name;
  absl::StatusOr<Connector> parsed = Connector::Parse(name, *file);
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  return *std::move(parsed);
}

/// One that has come whole.
inline http::Completion Answer(int status, std::string body, http::Headers headers = {}) {
  http::Completion completion;
  completion.delivery = http::Delivery::kComplete;
  completion.status = status;
  completion.body = std::move(body);
  completion.headers = std::move(headers);
  return completion;
}

}  // namespace tributary::connector
