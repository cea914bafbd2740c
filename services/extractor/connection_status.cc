#include "services/extractor/connection.h"
#include "services/extractor/entity_times.h"
#include "tributary/v1/control.pb.h"

namespace tributary::extractor {

void Connection::AddStatus(v1::ServiceStatus& status) const {
  v1::ConnectionReport* report = status.add_connections();
  report->set_tenant(identity_.tenant);
  report->set_connection(identity_.name);
  report->set_problem(problem_);
  report->set_fix(fix_);
  report->set_credential_refused(is_refused_);
  if (endpoints_.counts) {
    v1::WebhookEndpoints& endpoints = *report->mutable_webhook_endpoints();
    endpoints.set_enabled(endpoints_.counts->enabled);
    endpoints.set_paused(endpoints_.counts->paused);
    endpoints.set_disabled(endpoints_.counts->disabled);
    endpoints.set_other(endpoints_.counts->other);
  }
  int offered = 0;
  int blocked = 0;
  for (const Track& each : tracks_) {
    v1::StreamStatus* stream = status.add_streams();
    stream->set_tenant(identity_.tenant);
    stream->set_connection(identity_.name);
    stream->set_stream(std::string(Name(each.kind)));
    stream->set_unavailable(each.cursor.unavailable());
    stream->set_first_read_done(each.cursor.first_read_done());
    stream->set_read(each.read);
    const bool is_unavailable = !each.cursor.unavailable().empty();
    stream->set_settled(is_unavailable ||
                        (each.quiet_scan_began && each.open_pages.empty() &&
                         (!has_news_ || *each.quiet_scan_began >= last_news_ + D())));
    if (each.last_ended_at) SetTime(stream->mutable_last_scan_ended_at(), *each.last_ended_at);
    std::string problem = each.problem;
    const auto otherwise = [&problem](const std::string& next) {
      if (problem.empty()) problem = next;
    };
    if (each.kind == StreamKind::kEvents) otherwise(by_id_problem_);
    otherwise(each.scan_problem);
    std::string remark = each.remark;
    if (each.kind == StreamKind::kEvents && !incomplete_event_.empty()) {
      if (!remark.empty()) remark += "; ";
      remark += incomplete_event_;
    }
    otherwise(remark);
    stream->set_problem(problem);
    if (is_unavailable || !each.has_begun) continue;
    ++offered;
    if (each.problem.starts_with("HTTP 422")) ++blocked;
  }
  if (problem_.empty() && offered > 0 && blocked == offered) {
    // An account that is closed, cleared or in arrears answers 422 to everything (trap 22).
    for (const Track& each : tracks_) {
      if (!each.problem.empty()) report->set_problem(each.problem);
    }
    report->set_fix("look at the account of this site at its vendor");
  }
}

}  // namespace tributary::extractor
