#include "tests/unit/services/extractor/naive_readers.h"

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "libs/ids/keys.h"
#include "libs/json/value.h"
#include "libs/time/rfc3339.h"

namespace tributary::extractor::testing::naive {
namespace {

/// The wrapped objects of a bare array; none where the body is no array.
std::vector<json::Value> Rows(const SiteAnswer& answer, std::string_view wrapper) {
  std::vector<json::Value> rows;
  const auto parsed = json::Parse(answer.body);
  if (!parsed.ok() || parsed->array() == nullptr) return rows;
  for (const json::Value& element : *parsed->array()) {
    if (const json::Value* row = element.Find(wrapper)) rows.push_back(*row);
  }
  return rows;
}

std::string IdOf(const json::Value& row) { return row.Find("id")->ToIdText().value_or(""); }

std::string Page(int page, int per_page) {
  return "page=" + std::to_string(page) + "&per_page=" + std::to_string(per_page);
}

}  // namespace

Ids EventsTakingCursorsForInclusive(const Fetch& fetch) {
  Ids ids;
  std::string since;
  while (true) {
    auto rows = Rows(fetch("/events.json?direction=asc&per_page=20" +
                           (since.empty() ? "" : "&since_id=" + since)),
                     "event");
    if (!since.empty() && !rows.empty()) rows.erase(rows.begin());
    if (rows.empty()) return ids;
    for (const json::Value& row : rows) ids.insert(since = IdOf(row));
  }
}

Ids EventsInDefaultOrderAfterACrash(const Fetch& fetch) {
  Ids ids;
  std::int64_t cursor = 0;
  for (const json::Value& row : Rows(fetch("/events.json?per_page=20"), "event")) {
    ids.insert(IdOf(row));
    cursor = std::max(cursor, row.Find("id")->ToInt64().value_or(0));
  }
  // Here the process died; the cursor was stored.
  for (int page = 1;; ++page) {
    const auto rows = Rows(
        fetch("/events.json?" + Page(page, 20) + "&since_id=" + std::to_string(cursor)), "event");
    if (rows.empty()) return ids;
    for (const json::Value& row : rows) ids.insert(IdOf(row));
  }
}

Ids CustomersPageByPage(const Fetch& fetch, int per_page) {
  Ids ids;
  for (int page = 1;; ++page) {
    const auto rows =
        Rows(fetch("/customers.json?direction=asc&" + Page(page, per_page)), "customer");
    if (rows.empty()) return ids;
    for (const json::Value& row : rows) ids.insert(IdOf(row));
  }
}

Documents ChangesTrustingTheFilter(const Fetch& fetch, const std::string& since) {
  Documents changed;
  for (const json::Value& row :
       Rows(fetch("/customers.json?date_field=updated_at&per_page=50&start_datetime=" +
                  ids::EncodePart(since)),
            "customer")) {
    changed[IdOf(row)] = json::Write(row);
  }
  return changed;
}

Ids CustomersFromLargestUpdateAfterACrash(const Fetch& fetch, int per_page) {
  Ids ids;
  std::string largest;
  const auto take = [&](const std::vector<json::Value>& rows) {
    for (const json::Value& row : rows) {
      ids.insert(IdOf(row));
      largest = std::max(largest, *row.Find("updated_at")->string());
    }
  };
  take(Rows(fetch("/customers.json?direction=asc&" + Page(1, per_page)), "customer"));
  // Here the process died; the cursor was stored.
  const std::string from = ids::EncodePart(largest);
  for (int page = 1;; ++page) {
    const auto rows = Rows(fetch("/customers.json?direction=asc&date_field=updated_at&" +
                                 Page(page, per_page) + "&start_datetime=" + from),
                           "customer");
    if (rows.empty()) return ids;
    take(rows);
  }
}

Documents ChangesWithoutAZone(const Fetch& fetch, WallTime since) {
  Documents changed;
  const std::string text = FormatAtOffset(since, 0).substr(0, 19);
  for (const json::Value& row :
       Rows(fetch("/customers.json?date_field=updated_at&per_page=200&start_datetime=" +
                  ids::EncodePart(text)),
            "customer")) {
    changed[IdOf(row)] = json::Write(row);
  }
  return changed;
}

void KeepNewestByText(const Fetch& fetch, const std::string& id, Documents& kept) {
  const auto parsed = json::Parse(fetch("/customers/" + id + ".json").body);
  const json::Value row = *parsed->Find("customer");
  const auto updated = [](const std::string& document) {
    return *json::Parse(document)->Find("updated_at")->string();
  };
  const std::string document = json::Write(row);
  const auto known = kept.find(id);
  if (known == kept.end() || updated(known->second) < updated(document)) kept[id] = document;
}

Ids CustomersKnownByLists(const Fetch& fetch, Ids known) {
  for (const std::string& id : CustomersPageByPage(fetch, 200)) known.insert(id);
  return known;
}

Ids CustomersAllAtOnce(const Fetch& fetch, int pages, int per_page) {
  // `fetch` of this test lets no time pass: all of these are under way together.
  Ids ids;
  for (int page = 1; page <= pages; ++page) {
    for (const json::Value& row :
         Rows(fetch("/customers.json?direction=asc&" + Page(page, per_page)), "customer")) {
      ids.insert(IdOf(row));
    }
  }
  return ids;
}

Ids CustomersSkippingRefusedPages(const Fetch& fetch, int per_page) {
  Ids ids;
  for (int page = 1;; ++page) {
    const SiteAnswer answer = fetch("/customers.json?direction=asc&" + Page(page, per_page));
    if (answer.status >= 400 && answer.status < 500) continue;
    const auto rows = Rows(answer, "customer");
    if (rows.empty()) return ids;
    for (const json::Value& row : rows) ids.insert(IdOf(row));
  }
}

Ids CustomersUntilFirst401(const Fetch& fetch, int per_page) {
  Ids ids;
  for (int page = 1;; ++page) {
    const SiteAnswer answer = fetch("/customers.json?direction=asc&" + Page(page, per_page));
    if (answer.status == 401) return ids;
    const auto rows = Rows(answer, "customer");
    if (rows.empty()) return ids;
    for (const json::Value& row : rows) ids.insert(IdOf(row));
  }
}

Ids CustomersOf200Only(const Fetch& fetch, int per_page) {
  Ids ids;
  for (int page = 1;; ++page) {
    const SiteAnswer answer = fetch("/customers.json?direction=asc&" + Page(page, per_page));
    if (answer.status != 200) continue;  // failed; perhaps the next one works
    const auto rows = Rows(answer, "customer");
    if (rows.empty()) return ids;
    for (const json::Value& row : rows) ids.insert(IdOf(row));
  }
}

void ChangesSinceLastPoll(const Fetch& fetch, WallTime& last_poll, WallTime now, Documents& kept) {
  const std::string since = ids::EncodePart(FormatAtOffset(last_poll, 0));
  last_poll = now;
  for (int page = 1;; ++page) {
    const auto rows = Rows(fetch("/customers.json?direction=asc&date_field=updated_at&" +
                                 Page(page, 200) + "&start_datetime=" + since),
                           "customer");
    if (rows.empty()) return;
    for (const json::Value& row : rows) kept[IdOf(row)] = json::Write(row);
  }
}

Ids SubscriptionsOfKnownStates(const Fetch& fetch) {
  static const std::set<std::string> kStates = {
      "active",   "canceled", "expired",   "on_hold",     "past_due", "soft_failure",
      "trialing", "unpaid",   "suspended", "trial_ended", "paused",   "awaiting_signup"};
  Ids ids;
  for (int page = 1;; ++page) {
    const auto rows = Rows(fetch("/subscriptions.json?sort=id&" + Page(page, 200)), "subscription");
    if (rows.empty()) return ids;
    for (const json::Value& row : rows) {
      if (kStates.contains(*row.Find("state")->string())) ids.insert(IdOf(row));
    }
  }
}

std::string HostOf(const std::string& subdomain) { return subdomain + ".chargify.com"; }

Documents SubscriptionsByStruct(const Fetch& fetch) {
  struct Subscription {
    std::string state;
    std::string product;
  };
  Documents documents;
  for (int page = 1;; ++page) {
    const auto rows = Rows(fetch("/subscriptions.json?sort=id&" + Page(page, 200)), "subscription");
    if (rows.empty()) return documents;
    for (const json::Value& row : rows) {
      const json::Value* product = row.FindPath("product.handle");
      if (product == nullptr || product->string() == nullptr) continue;
      const Subscription read{*row.Find("state")->string(), *product->string()};
      documents[IdOf(row)] = read.state + " " + read.product;
    }
  }
}

Ids CustomersUntilShortPage(const Fetch& fetch, int per_page) {
  Ids ids;
  for (int page = 1;; ++page) {
    const auto rows =
        Rows(fetch("/customers.json?direction=asc&" + Page(page, per_page)), "customer");
    for (const json::Value& row : rows) ids.insert(IdOf(row));
    if (rows.size() < static_cast<std::size_t>(per_page)) return ids;
  }
}

}  // namespace tributary::extractor::testing::naive
