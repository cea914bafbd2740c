#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tributary/v1/tenants.pb.h"

namespace tributary::control {

/// A file as a person gave it.
struct NamedFile {
  /// For messages.
  std::string name;
  std::string content;
};

/// What this build knows of integrations: the files that come with it, and how to check what people
/// write. An interface, so that control's core is tested without parsers.
class Catalogue {
 public:
  virtual ~Catalogue() = default;

  virtual std::vector<std::string> integrations() const = 0;
  /// Null pointers: the integration has none of its own (chargify is built in, `rest` is given).
  virtual const NamedFile* DefaultConnectorFile(std::string_view integration) const = 0;
  virtual const NamedFile* DefaultMapping(std::string_view integration) const = 0;
  virtual const NamedFile* DefaultRules(std::string_view integration) const = 0;

  /// Problems of a connection and its connector file (null: built in), as `F:LINE:COL: error: …`.
  virtual std::vector<std::string> CheckConnection(const v1::Connection& connection,
                                                   const NamedFile* connector_file) const = 0;
  /// The same of a sync's mapping and rules, for a target with that connector file.
  virtual std::vector<std::string> CheckSync(const NamedFile& mapping, const NamedFile& rules,
                                             const NamedFile* connector_file) const = 0;
  /// Names of the credential's fields. Empty: it needs none.
  virtual std::vector<std::string> CredentialFieldNames(const v1::Connection& connection,
                                                        const NamedFile* connector_file) const = 0;
};

}  // namespace tributary::control
