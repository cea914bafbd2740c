#!/usr/bin/env python3
"""Makes what Grafana and the Prometheus Operator read, of the panels below and of rules.yaml.

    generate.py            writes dashboards/*.json and prometheus-rule.yaml
    generate.py --check    exits 1 if they are not what it would write
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
TAG = "tributary"

# Boards top-down from symptom to cause. A panel: title, what it says, unit, then (legend, query) pairs.
# Thresholds are those of the alerts. Queries are PromQL with Grafana's $__rate_interval.
BOARDS = {
    "sync": ("Sync status", [
        ("Late syncs", "Share of all syncs whose oldest open change is older than 5 minutes. Objective: 1 % over "
         "30 days.", "percentunit", [("late", "tributary:freshness_bad:ratio")], 0.01),
        ("Budget for being late, left of 30 days", "1: nothing used. Below 0: the objective is missed. Needs 30 days "
         "of data to be exact.", "percentunit",
         [("left", "1 - sum_over_time(tributary:freshness_bad:ratio[30d:5m]) / 8640 / 0.01")], None),
        ("Oldest open change", "The ten syncs that are furthest behind.", "s",
         [("{{tenant}}/{{sync}}", "topk(10, max by (tenant, sync) (tributary_freshness_seconds))")], 300),
        ("Records that wait", "For their turn, for time, for a person.", "short",
         [("pending", "sum(tributary_pending)"), ("retrying", "sum(tributary_retrying)"),
          ("parked", "sum(tributary_parked)")], None),
        ("Most pending", "The ten syncs with the most records that wait.", "short",
         [("{{tenant}}/{{sync}}", "topk(10, max by (tenant, sync) (tributary_pending))")], None),
        ("Most parked", "The ten syncs with the most records that wait for a person.", "short",
         [("{{tenant}}/{{sync}}", "topk(10, max by (tenant, sync) (tributary_parked))")], 1),
        ("What became of commands", "superseded: a newer version took its place before it was sent.", "ops",
         [("{{outcome}}", "sum by (outcome) (rate(tributary_outcomes_total[$__rate_interval]))")], None),
    ]),
    "tenant": ("Tenant", [
        ("Oldest open change", "Age of the oldest change that is not at its target.", "s",
         [("{{tenant}}/{{sync}}", 'max by (tenant, sync) (tributary_freshness_seconds{tenant=~"$tenant"})')], 300),
        ("Pending", "Records whose newest version waits.", "short",
         [("{{tenant}}/{{sync}}", 'max by (tenant, sync) (tributary_pending{tenant=~"$tenant"})')], None),
        ("Retrying", "Records that wait for time.", "short",
         [("{{tenant}}/{{sync}}", 'max by (tenant, sync) (tributary_retrying{tenant=~"$tenant"})')], None),
        ("Parked", "Records that wait for a person: tributary parked list TENANT.", "short",
         [("{{tenant}}/{{sync}}", 'max by (tenant, sync) (tributary_parked{tenant=~"$tenant"})')], 1),
        ("Credentials end in", "Those of which it is known; alarmed below 14 days.", "s",
         [("{{tenant}}/{{connection}}", "min by (tenant, connection) "
           '(tributary_credential_expires_timestamp_seconds{tenant=~"$tenant"}) - time()')], None),
        ("Webhook endpoints", "Other programs', by what the site says of them. Not enabled: they hear nothing.", "short",
         [("{{tenant}}/{{connection}} {{status}}", "max by (tenant, connection, status) "
           '(tributary_webhook_endpoints{tenant=~"$tenant"})')], None),
    ]),
    "target": ("Targets and sources", [
        ("Requests to targets", "By what is known of the answer.", "reqps",
         [("{{integration}} {{answer}}", "integration:tributary_target_requests:rate15m > 0")], None),
        ("Unknown answers", "Share of 5xx, time-outs and broken answers. Each such record waits for `settle`.",
         "percentunit",
         [("{{integration}}", 'sum by (integration) (integration:tributary_target_requests:rate15m{answer="unknown"})'
           " / sum by (integration) (integration:tributary_target_requests:rate15m)")], 0.2),
        ("Throttled", "Share of requests answered 429.", "percentunit",
         [("{{stage}}", '1 - sum by (stage) (rate(tributary_http_client_requests_total{code_class!="429"}'
           "[$__rate_interval])) / sum by (stage) (rate(tributary_http_client_requests_total[$__rate_interval]))")],
         0.01),
        ("Not connected", "Share of requests of which no byte could be sent.", "percentunit",
         [("{{stage}}", "stage:tributary_http_client_unconnected:rate15m / stage:tributary_http_client_requests:rate15m"
           " or 0 * stage:tributary_http_client_requests:rate15m")], 0.2),
        ("Quota used", "Of what the fullest window allows. 1 for a while: what comes waits.", "percentunit",
         [("{{integration}}", "max by (integration) (tributary_quota_used_ratio)")], None),
        ("Waiting for a quota", "Seconds a second in which something waits for nothing but a quota.", "short",
         [("{{integration}}", "sum by (integration) (rate(tributary_quota_wait_seconds_total[$__rate_interval]))")], 0.5),
        ("Compared with what was written", "By the sweep, an hour; all but equal is drift.", "short",
         [("{{integration}} {{outcome}}",
           "sum by (integration, outcome) (increase(tributary_sweep_comparisons_total[1h]))")], None),
        ("Calls for each record that was written", "Look-ups, writes and tokens, over records applied.", "short",
         [("{{integration}}", "sum by (integration) (integration:tributary_target_requests:rate15m)"
           " / sum by (integration) (rate(tributary_outcomes_total{outcome=\"applied\"}[15m]))")], None),
        ("Requests to targets by operation", "What the quota is spent on.", "reqps",
         [("{{integration}} {{operation}}", "sum by (integration, operation) "
           "(rate(tributary_target_requests_total[$__rate_interval]))")], None),
        ("Requests to Chargify", "By what is read.", "reqps",
         [("{{operation}}", "sum by (operation) (rate(tributary_source_requests_total[$__rate_interval]))")], None),
        ("Answers of Chargify", "By what is known of them.", "reqps",
         [("{{answer}}", "sum by (answer) (rate(tributary_source_requests_total[$__rate_interval]))")], None),
        ("Duration of requests", "From connect to the last byte; half, and 95 of 100, are faster.", "s",
         [("{{stage}} p" + p, f"histogram_quantile(0.{p}, sum by (stage, le) "
           "(rate(tributary_http_client_request_duration_seconds_bucket[$__rate_interval])))")
          for p in ("50", "95")], None),
        ("Requests in flight", "Queued ones too.", "short",
         [("{{stage}}", "sum by (stage) (tributary_http_client_requests_in_flight)")], None),
        ("Parked by reason", "Commands an hour.", "short",
         [("{{integration}} {{reason}}", "sum by (integration, reason) (increase(tributary_parked_total[1h]))")], None),
    ]),
    "pipeline": ("Pipeline", [
        ("Oldest open change", "Over all syncs.", "s", [("oldest", "max(tributary_freshness_seconds)")], 300),
        ("Lag", "Records between where a service reads and the end.", "short",
         [("{{stage}} {{topic}}", "sum by (stage, topic) (tributary_consumer_lag)")], None),
        ("Records read", "By service.", "ops",
         [("{{stage}}", "sum by (stage) (rate(tributary_records_in_total[$__rate_interval]))")], None),
        ("Records written", "By topic.", "ops",
         [("{{topic}}", "sum by (topic) (rate(tributary_records_out_total[$__rate_interval]))")], None),
        ("From changes to commands", "Many unchanged: the mapping uses little of what changes.", "ops",
         [("changes", "sum(rate(tributary_changes_total[$__rate_interval]))"),
          ("customers derived", "sum(rate(tributary_derived_customers_total[$__rate_interval]))"),
          ("commands", "sum(rate(tributary_commands_total[$__rate_interval]))"),
          ("unchanged", "sum(rate(tributary_unchanged_total[$__rate_interval]))"),
          ("mapping errors", "sum(rate(tributary_mapping_errors_total[$__rate_interval]))")], None),
        ("Partitions held, and ready", "Equal in all services, and all of them ready.", "short",
         [("{{stage}} held", "stage:tributary_assigned_partitions:sum"),
          ("{{stage}} ready", "sum by (stage) (tributary_ready_partitions)")], None),
        ("Partitions by member", "Who owns how much.", "short",
         [("{{stage}} {{instance}}", "sum by (stage, instance) (tributary_assigned_partitions)")], None),
        ("Lease left", "0 for a while: the member sends nothing. The transformer needs none.", "s",
         [("{{stage}} {{instance}}", 'min by (stage, instance) (tributary_lease_left_seconds{stage!="transformer"})')],
         None),
        ("Fullest queue", "1: what fills the queue is held back.", "percentunit",
         [("{{stage}} {{queue}}", "max by (stage, queue) (tributary_queue_depth / tributary_queue_capacity)")], 1),
        ("In and out", "State commands written, and outcomes of all commands.", "ops",
         [("in", 'sum(rate(tributary_commands_total{kind="state"}[$__rate_interval]))'),
          ("out", "sum(rate(tributary_outcomes_total[$__rate_interval]))")], None),
        ("Begun anew, and rebalances", "In 15 minutes.", "short",
         [("{{stage}} begun anew", "sum by (stage) (increase(tributary_stage_restarts_total[15m]))"),
          ("{{stage}} rebalances", "sum by (stage) (increase(tributary_rebalances_total[15m]))")], None),
        ("Must stay 0", "Conflicts of equal versions, records that could not be read, and refused by the log.", "short",
         [("conflicts", "sum(increase(tributary_equal_version_conflicts_total[1h]))"),
          ("set aside", "sum(increase(tributary_set_aside_total[1h]))"),
          ("not taken", "sum(increase(tributary_producer_errors_total[1h]))")], 1),
        ("Warnings and errors", "Log lines.", "ops",
         [("{{level}}", 'sum by (level) (rate(tributary_log_messages_total{level=~"warning|error"}'
           "[$__rate_interval]))")], None),
        ("CPU", "Cores, by member.", "short",
         [("{{instance}}", 'sum by (instance) (rate(process_cpu_seconds_total{job="tributary"}[$__rate_interval]))')],
         None),
        ("Memory", "Resident, by member.", "bytes",
         [("{{instance}}", 'sum by (instance) (process_resident_memory_bytes{job="tributary"})')], None),
    ]),
}

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(number, title, description, unit, queries, threshold):
    steps = [{"color": "green", "value": None}]
    if threshold is not None:
        steps.append({"color": "red", "value": threshold})
    return {
        "id": number + 1, "type": "timeseries", "title": title, "description": description, "datasource": SOURCE,
        "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps},
                                     "custom": {"thresholdsStyle": {"mode": "line" if threshold is not None else "off"}}},
                        "overrides": []},
        "targets": [{"refId": chr(ord("A") + i), "datasource": SOURCE, "legendFormat": legend, "expr": query}
                    for i, (legend, query) in enumerate(queries)],
    }


def board(name, title, panels):
    variables = [{"name": "datasource", "type": "datasource", "query": "prometheus"}]
    if name == "tenant":
        variables.append({"name": "tenant", "type": "query", "datasource": SOURCE, "refresh": 2, "multi": True,
                          "includeAll": True, "query": "label_values(tributary_freshness_seconds, tenant)"})
    return {
        "uid": f"tributary-{name}", "title": f"Tributary: {title}", "tags": [TAG], "schemaVersion": 39, "editable": False,
        "time": {"from": "now-6h", "to": "now"}, "refresh": "30s", "templating": {"list": variables},
        "links": [{"type": "dashboards", "title": "Tributary", "tags": [TAG], "asDropdown": True, "keepTime": True}],
        "panels": [panel(i, *p) for i, p in enumerate(panels)],
    }


def files():
    for name, (title, panels) in BOARDS.items():
        yield f"dashboards/{name}.json", json.dumps(board(name, title, panels), indent=1) + "\n"
    rules = (HERE / "rules.yaml").read_text()
    groups = rules[rules.index("\ngroups:") + 1:]
    head = ("# Made by generate.py of rules.yaml.\n"
            "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n"
            "metadata:\n  name: tributary\nspec:\n")
    yield "prometheus-rule.yaml", head + "".join("  " + line if line.strip() else line
                                                 for line in groups.splitlines(keepends=True))


def main():
    stale = []
    for name, text in files():
        file = HERE / name
        if sys.argv[1:] == ["--check"]:
            if not file.exists() or file.read_text() != text:
                stale.append(name)
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
    if stale:
        print(f"not what generate.py makes: {', '.join(stale)}; run k8s/monitoring/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
