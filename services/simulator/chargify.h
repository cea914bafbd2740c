#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "libs/time/time.h"
#include "services/simulator/query.h"
#include "services/simulator/site.h"
#include "services/simulator/world.h"

namespace tributary::simulator {

/// The HTTP face of the billing site: paths, paging, filters, orders and refusals as the vendor has
/// them, traps included. Reading only.
class Chargify {
 public:
  Chargify(const WorldOptions& options, Site& site);

  Answer Handle(WallTime now, const Asked& asked);
  /// The refusal when too much waits; nothing says when to come back.
  Answer Refuse(WallTime now) const;

  const std::string& key() const { return key_; }

  /// `enabled`, `paused` or `disabled`. kNotFound, kInvalidArgument.
  absl::Status SetEndpoint(std::int64_t id, std::string_view status);

 private:
  /// To which another program listens.
  struct Endpoint {
    std::int64_t id = 0;
    std::string url;
    std::string status;
  };
  struct Window {
    bool is_limited = false;
    std::int64_t begin = 0;
    std::int64_t end = 0;
  };
  struct Page {
    std::int64_t number = 1;
    std::int64_t size = 20;
    /// Of a bad page; empty: none.
    std::string error;
  };

  Answer Json(WallTime now, int status, std::string body) const;
  Answer NotFound(WallTime now) const;
  Page PageFrom(const Asked& asked, std::int64_t size_default) const;
  /// `start_date` … of `asked`; times too only where `takes_times`.
  Window WindowFrom(const Asked& asked, bool takes_times) const;
  std::uint64_t Nonce();

  Answer SiteJson(WallTime now) const;
  Answer Endpoints(WallTime now) const;
  Answer Customers(WallTime now, const Asked& asked);
  Answer Subscriptions(WallTime now, const Asked& asked);
  Answer SubscriptionComponents(WallTime now, std::uint32_t subscription);
  Answer AllComponents(WallTime now, const Asked& asked);
  Answer Invoices(WallTime now, const Asked& asked);
  Answer Events(WallTime now, const Asked& asked, const std::uint32_t* subscription,
                bool counts_only);
  Answer Catalogue(WallTime now, const Asked& asked) const;

  const WorldOptions options_;
  Site& site_;
  std::string key_;
  std::array<Endpoint, 2> endpoints_;
  std::uint64_t lists_ = 0;
};

}  // namespace tributary::simulator
