#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "services/control/catalogue.h"
#include "services/control/database.h"
#include "services/control/model.h"
#include "tributary/v1/control.pb.h"

namespace tributary::control {

/// What an order of `tributary apply` would change.
struct ApplyPlan {
  /// Not empty: nothing may be changed.
  std::vector<std::string> problems;
  /// For people, in the order of names.
  std::vector<v1::AppliedChange> changes;
  Database::Changes database;
};

/// What is kept now, as the plan needs to see it.
struct KeptState {
  const Tenants& tenants;
  const std::map<std::string, v1::Blob>& blobs;
  /// None: there is none. Errors are told as problems.
  std::function<absl::StatusOr<std::optional<CredentialFields>>(const ConnectionName&)> credential;
  /// False: nothing was ever read from that source.
  std::function<bool(const ConnectionName&)> may_have_been_read;
};

/// Compares the request with what is kept. Pure. A plan whose `changes` has nothing but
/// would-removes changes nothing: the same request twice changes nothing the second time.
ApplyPlan PlanApply(const KeptState& kept, const Catalogue& catalogue,
                    const v1::ApplyRequest& request);

}  // namespace tributary::control
