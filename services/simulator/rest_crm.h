#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "libs/json/value.h"
#include "libs/time/time.h"
#include "services/simulator/query.h"
#include "services/simulator/random.h"
#include "services/simulator/stored.h"
#include "services/simulator/world.h"

namespace tributary::simulator {

/// A small CRM of nobody in particular: clients under the caller's own ids, tokens that end, bodies
/// that are checked.
class RestCrm {
 public:
  struct Client {
    std::string id;
    /// JSON, compact: many of them must fit.
    std::string document;
    /// Of the newest conditional write; empty: none.
    std::string version;
  };
  struct Note {
    std::string id;
    std::string client_id;
    std::string text;
    std::string external_id;
  };

  explicit RestCrm(const WorldOptions& options);

  /// `applied` becomes true when something was stored.
  Answer Handle(WallTime now, const Asked& asked, bool* applied);

  const std::string& key() const { return key_; }
  const std::vector<Client>& clients() const { return clients_; }
  const std::vector<Note>& notes() const { return notes_; }
  const std::vector<Mark>& marks() const { return marks_; }
  void WriteRecords(std::string& out) const;
  static Flat Flattened(const Client& client);

 private:
  struct Written {
    int status = 200;
    /// Of a refusal: the list of errors, as JSON.
    std::string errors;
    std::uint32_t index = 0;
  };

  Answer Json(int status, std::string body) const;
  Written Write(WallTime now, std::string_view client_id, const json::Value& body,
                std::string_view version);
  Answer Notes(const Asked& asked, bool* applied);
  Answer Batch(WallTime now, const Asked& asked, bool* applied);

  const WorldOptions options_;
  Random random_;
  std::string key_;
  std::map<std::string, WallTime> tokens_;
  std::vector<Client> clients_;
  std::unordered_map<std::string, std::uint32_t> by_id_;
  std::vector<Note> notes_;
  std::unordered_map<std::string, std::vector<std::uint32_t>> notes_of_;
  std::vector<Mark> marks_;
};

}  // namespace tributary::simulator
