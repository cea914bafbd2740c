#pragma once

#include <string>
#include <vector>

#include "tributary/v1/control.pb.h"

// What commands print on standard output: one JSON document in one line, whose fields are only ever
// added to, or text for people. Pure.

namespace tributary::cli {

std::string ApplyJson(const v1::ApplyResponse& response, bool dry_run);
std::string StatusJson(const v1::StatusResponse& response);
std::string TenantsJson(const v1::ListTenantsResponse& response);
std::string ConnectionsJson(const v1::ListTenantsResponse& response);
std::string SyncsJson(const v1::ListTenantsResponse& response);
std::string ParkedJson(const v1::ListParkedResponse& response);
std::string SweepJson(const v1::SweepResponse& response);
std::string TraceJson(const v1::TraceResponse& response);
std::string VerifyJson(const v1::VerifyResponse& response);
std::string BuildInfoJson(const v1::BuildInfo& info);

std::string ApplyText(const v1::ApplyResponse& response, bool dry_run);
std::string StatusText(const v1::StatusResponse& response);
std::string TenantsText(const v1::ListTenantsResponse& response);
std::string ConnectionsText(const v1::ListTenantsResponse& response);
std::string SyncsText(const v1::ListTenantsResponse& response);
std::string ParkedText(const v1::ListParkedResponse& response);
/// All that is known of each item.
std::string ParkedDetails(const v1::ListParkedResponse& response);
std::string SweepText(const v1::SweepResponse& response);
std::string TraceText(const v1::TraceResponse& response);
std::string VerifyText(const v1::VerifyResponse& response);

/// Rows under a line of names, in columns as wide as their widest cell. No rows: `nothing`.
std::string Table(const std::vector<std::string>& names,
                  const std::vector<std::vector<std::string>>& rows, const std::string& nothing);

/// Of webhook endpoints that a site has switched off, and what to do.
std::string EndpointsText(const v1::WebhookEndpoints& endpoints);
inline constexpr const char* kFixOfEndpoints =
    "tell its owner: what it calls must answer, then a test from the site's page of webhooks "
    "switches it on; see docs/runbooks/TributaryWebhookEndpointDisabled.md";

/// `90` → `1m 30s`, for people; the two largest units.
std::string DurationText(double seconds);

}  // namespace tributary::cli
