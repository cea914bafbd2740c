#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/budget/window.h"
#include "libs/connector/template.h"
#include "libs/http/message.h"
#include "libs/json/value.h"
#include "libs/time/time.h"

// A CRM is described by a connector file, and this engine reads all of them. A Connector is what a
// file says; render.h makes requests of it, interpret.h reads their answers. Pure: no I/O.

namespace tributary::connector {

/// Decides what may be promised (protocol section 7).
enum class TargetKind : std::uint8_t {
  /// The target refuses a version that is not newer than its own.
  kConditional,
  kUpsertByUniqueKey,
  kCreateOnly,
  /// An "upsert" that matches by e-mail or phone.
  kMatchNotUnique,
};
std::string_view Name(TargetKind kind);

/// What a status, or a text in the body, means here and not elsewhere.
struct AnswerRule {
  enum class Means : std::uint8_t {
    kDone,
    kRefused,
    /// The record is certainly not there.
    kMissing,
    /// It exists already, under the id at `id`.
    kDuplicate,
    kUnauthorised,
    /// The connection is set up wrongly: no record is to blame, and no other would fare better.
    kMisconfigured,
    kThrottled,
    kUnknown,
  };
  /// 0: any.
  int status = 0;
  /// Must stand in the body. Empty: any body.
  std::string text;
  Means means = Means::kRefused;
  /// Path of the id in the body, for kDuplicate.
  std::string id;
};

/// One call.
struct Call {
  /// `upsert`, `tags.add`, … : the step's name in intents.
  std::string name;
  std::string method;
  Template path;
  std::vector<std::pair<std::string, Template>> query;
  /// Null: no body, unless `sends_fields`.
  json::Value body;
  bool sends_fields = false;
  /// Of the fields, only these, or all but these. Both empty: all.
  std::set<std::string> only;
  std::set<std::string> except;
  /// The call is left out unless every one of these fields has a value.
  std::vector<std::string> needs;
  /// Look-up of the object that finds what this call would: it is made before anything is written,
  /// and the call is not sent when it finds another record. Empty: the call goes by the record's
  /// id.
  std::string confirmed_by;
  /// Where the answer names the record. Empty: it promises none.
  std::string id;
  /// Path that a good answer must have besides. Empty: none.
  std::string holds;
  /// Path of the record's tags in the answer. Empty: it does not tell.
  std::string tags;
  /// First match counts; asked before the connector's own and the general classes.
  std::vector<AnswerRule> answers;
  /// Doubtful "throttled" counts as unknown (protocol rule 24).
  bool creates_or_acts = false;

  /// Of a look-up: path of the array of items, or of the one item; the id within an item; what some
  /// text or number of an item must equal or contain to be ours. The latter two may be empty.
  std::string items;
  std::string item;
  std::string item_id;
  Template item_equals;
  Template item_contains;

  /// Of a look-up: whatever it finds bears the marker of what is looked for.
  bool finds_marker() const { return !item_equals.empty() || !item_contains.empty(); }
};

/// One request that carries many records.
struct Batch {
  /// Setting that turns it on with the value `true`. Empty: always on.
  std::string enabled_by;
  Call call;
  std::int32_t size = 1;
  /// Member of the request's body, and path in the answer.
  std::string items;
  std::string results;
  /// Members of one result.
  std::string result_key;
  std::string result_status;
  std::string result_error;
};

/// How a record is read back by its id.
struct Read {
  /// `id` and `tags` as of any call.
  Call call;
  /// Path of the record in the answer. Empty: the answer itself.
  std::string record;
  /// Members of a pair, where the answer names them otherwise than what is sent.
  std::string pairs_key;
  std::string pairs_value;
  /// Fields that the target keeps in its own words: only letters and digits count, without case.
  std::set<std::string> loose;
};

struct Object {
  std::string name;
  TargetKind target = TargetKind::kCreateOnly;
  /// Field whose value is the unique key, and therefore the id, at the target.
  std::string unique_key;
  /// Fields by which the target matches. Two records that agree in one are not created at once.
  std::vector<std::string> match;
  /// Field by which a look-up finds what we made.
  std::string marker;

  /// Names of top-level members, and of sections (objects one level down).
  std::set<std::string, std::less<>> names;
  std::set<std::string, std::less<>> sections;
  /// An array of {key, value} pairs instead of members. Empty prefix: none.
  std::string pairs_prefix;
  std::string pairs_key;
  std::string pairs_value;
  /// What is sent to clear such a pair.
  json::Value pairs_clear;
  /// What is sent to clear a top-level member, where it is not null.
  std::map<std::string, json::Value> clears;
  /// Members that cannot be cleared: left out when they have no value.
  std::set<std::string> not_clearable;
  /// Any other path is sent as it stands; the target is not strict.
  bool open = false;

  std::vector<Call> lookups;
  /// Null pointer: there is none of this name.
  const Call* FindLookup(std::string_view name) const;
  std::vector<Call> create;
  std::vector<Call> update;
  /// They are the same: what was created needs no comparing with what an update would make of it.
  bool upserts = false;
  std::optional<Call> tags_add;
  std::optional<Call> tags_remove;
  bool tags_lower_case = false;
  std::optional<Read> read;
  std::optional<Batch> batch;

  /// Creating a second record is possible: never create in doubt, look up first (rule 26).
  bool creates_blindly() const {
    return target == TargetKind::kCreateOnly || target == TargetKind::kMatchNotUnique;
  }
  /// Empty: the path may be written. Else why not, with the nearest known one.
  std::string CheckField(std::string_view path) const;
};

/// An operation that a rule can ask for.
struct ActionOperation {
  std::string name;
  std::string object;
  std::vector<std::string> arguments;
  std::vector<std::string> optional_arguments;
  Call call;
  /// How a done one is found again. None: it cannot be.
  std::optional<Call> lookup;
};

struct Authentication {
  enum class Kind : std::uint8_t { kBearer, kTokenRequest };
  Kind kind = Kind::kBearer;
  /// Header of every call, `Authorization` by default.
  std::string header = "Authorization";
  Template value;
  /// Of a token request.
  Call request;
  Template basic_user;
  Template basic_password;
  std::string token;
  std::string expires_in;
  Duration renew_before = std::chrono::seconds(60);
};

struct Limits {
  std::int32_t concurrency = 4;
  /// Until the server's headers say more. 0: no ceiling.
  double requests_per_second = 10;
  /// What shares one quota there, of `{settings.…}`, beside the URL: a location, an app. Empty:
  /// each connection has its own.
  Template scope;
  std::vector<budget::WindowOptions> windows;
};

struct Setting {
  bool required = false;
  std::string fallback;
};

/// Where a connection is, and what it has set. Settings that are missing have their default.
struct Account {
  std::string url;
  bool allow_insecure_loopback = false;
  std::map<std::string, std::string> settings;
};

class Connector {
 public:
  /// `name` stands before each problem: `NAME:LINE:COL: error: …`, all of them, one a line
  /// (kInvalidArgument).
  static absl::StatusOr<Connector> Parse(std::string_view name, std::string_view yaml);

  std::string integration;
  std::string base_url;
  std::vector<std::string> credentials;
  std::map<std::string, Setting> settings;
  Authentication authentication;
  http::Headers headers;
  Limits limits;
  /// L and S of the protocol.
  Duration settle = std::chrono::seconds(120);
  Duration index_lag = std::chrono::seconds(60);
  std::vector<AnswerRule> answers;
  std::map<std::string, Object, std::less<>> objects;
  std::map<std::string, ActionOperation, std::less<>> actions;

  const Object* FindObject(std::string_view name) const;
  const ActionOperation* FindAction(std::string_view operation) const;

  /// Problems of a connection's settings: unknown (with the nearest known one), missing, out of
  /// bounds. Empty: none.
  std::vector<std::string> CheckSettings(const std::map<std::string, std::string>& given) const;
  /// The connection as this file and its own settings make it. `url` empty: the file's.
  Account MakeAccount(std::string_view url, bool allow_insecure_loopback,
                      std::map<std::string, std::string> given) const;
  /// L and S, a connection's own settings counted.
  Duration SettleOf(const Account& account) const;
  Duration IndexLagOf(const Account& account) const;
  /// Accounts of one scope share a quota. Empty: this one has its own.
  std::string ScopeOf(const Account& account) const;
};

/// Files that are compiled in, by name: `highlevel.yaml`, `rest.yaml`, `*.mapping.yaml`, … Null
/// pointer: no such file.
const std::string* BuiltinFile(std::string_view name);
std::vector<std::string> BuiltinFileNames();

}  // namespace tributary::connector
