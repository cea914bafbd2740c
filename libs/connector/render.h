#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/connector/connector.h"
#include "tributary/v1/commands.pb.h"

// Requests, from a connector file and what is to be written.

namespace tributary::connector {

/// What a call is about; what a call does not use may be left out.
struct CallInput {
  /// Of the record at the target.
  std::string id;
  const v1::DesiredState* state = nullptr;
  std::string marker;
  std::vector<std::string> tags;
  const v1::Action* action = nullptr;
};

/// Credential fields by name. Secret.
using Credentials = std::map<std::string, std::string>;

json::Value JsonOf(const v1::FieldValue& value);
/// Value of a field of the state. Null pointer: the state does not have it, or it is null.
const v1::FieldValue* FindField(const v1::DesiredState& state, std::string_view path);
/// Text of a field that is a text or a number. Empty: none.
std::string FieldText(const v1::DesiredState& state, std::string_view path);

/// All that the state `needs` for this call is there.
bool Applies(const Call& call, const v1::DesiredState& state);

/// Without authorisation. Errors: kInvalidArgument when the state has a field that the object does
/// not know, or lacks one that the call uses; the text is for people.
absl::StatusOr<http::Request> Render(const Connector& connector, const Account& account,
                                     const Object* object, const Call& call,
                                     const CallInput& input);
struct BatchItem {
  const v1::DesiredState* state = nullptr;
  /// Body of the object's one update, rendered for this state.
  std::string_view body;
};
/// One request for many states of one object; their unique keys tell the results apart.
absl::StatusOr<http::Request> RenderBatch(const Connector& connector, const Account& account,
                                          const Object& object,
                                          const std::vector<BatchItem>& items);
/// For a connector whose authentication is a token request.
absl::StatusOr<http::Request> RenderTokenRequest(const Connector& connector, const Account& account,
                                                 const Credentials& credentials);
/// Adds the header that proves who we are. `token`: of a token request, else empty.
absl::Status Authorise(const Connector& connector, const Credentials& credentials,
                       const std::string& token, http::Request& request);

/// 16 bytes over method, path and body: two calls with one hash leave the same state.
std::string HashOf(const http::Request& request);

/// Tags as the target keeps them: trimmed, perhaps lower-cased, sorted, each once.
std::vector<std::string> CanonicalTags(const Object& object, std::vector<std::string> tags);

}  // namespace tributary::connector
