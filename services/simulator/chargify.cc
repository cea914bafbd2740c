#include "services/simulator/chargify.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "services/simulator/civil_time.h"

namespace tributary::simulator {
namespace {

constexpr std::int64_t kPageSizeMax = 200;

bool Is(const std::string* text, std::string_view value) {
  return text != nullptr && *text == value;
}

// `12.json` → 12
std::optional<std::int64_t> IdOf(std::string_view segment) {
  if (segment.size() <= 5 || segment.substr(segment.size() - 5) != ".json") return std::nullopt;
  return ParseInteger(segment.substr(0, segment.size() - 5));
}

bool Contains(std::string_view text, std::string_view part) {
  return Lowered(text).find(Lowered(part)) != std::string::npos;
}

}  // namespace

Chargify::Chargify(const WorldOptions& options, Site& site)
    : options_(options),
      site_(site),
      key_("key-" + options.tenant + "-" +
           std::to_string(HashText(options.tenant, options.seed) % 1'000'000'007)),
      endpoints_({{{11, "https://shop." + options.tenant + ".example/webhooks", "enabled"},
                   {12, "https://books." + options.tenant + ".example/chargify", "enabled"}}}) {}

absl::Status Chargify::SetEndpoint(std::int64_t id, std::string_view status) {
  if (status != "enabled" && status != "paused" && status != "disabled") {
    return absl::InvalidArgumentError("status: enabled, paused or disabled is expected");
  }
  for (Endpoint& endpoint : endpoints_) {
    if (endpoint.id != id) continue;
    endpoint.status = status;
    return absl::OkStatus();
  }
  return absl::NotFoundError("no such endpoint");
}

std::uint64_t Chargify::Nonce() {
  ++lists_;
  return options_.switches.unstable_ties ? Mix(options_.seed ^ 0x7165, lists_) | 1u : 0;
}

Answer Chargify::Json(WallTime now, int status, std::string body) const {
  Answer answer;
  answer.status = status;
  answer.headers = {{"Content-Type", "application/json; charset=utf-8"},
                    {"Date", HttpDate(site_.Clock(now))}};
  answer.body = std::move(body);
  answer.delay = options_.answer_delay;
  return answer;
}

Answer Chargify::NotFound(WallTime now) const {
  Answer answer = Json(now, 404, "");
  answer.headers[0].second = "text/html";
  return answer;
}

Answer Chargify::Refuse(WallTime now) const {
  Answer answer = Json(now, 429,
                       "Your request was denied due to a usage violation. You can track this "
                       "request with support by referencing " +
                           std::to_string(HashText(options_.tenant, lists_) % 1'000'000));
  answer.headers[0].second = "text/plain; charset=utf-8";
  return answer;
}

Chargify::Page Chargify::PageFrom(const Asked& asked, std::int64_t size_default) const {
  Page page;
  page.size = size_default;
  if (const std::string* text = asked.Parameter("per_page"); text != nullptr) {
    const auto size = ParseInteger(*text);
    // Too large is cut in silence, what is no size counts as not given.
    if (size && *size > 0) page.size = std::min(*size, kPageSizeMax);
  }
  if (const std::string* text = asked.Parameter("page"); text != nullptr) {
    const auto number = ParseInteger(*text);
    if (!number || *number < 1) {
      std::string quoted;
      json::AppendQuoted(quoted, "invalid page: " + *text);
      page.error = "{\"errors\":[" + quoted + "]}";
    } else {
      page.number = *number;
    }
  }
  return page;
}

Chargify::Window Chargify::WindowFrom(const Asked& asked, bool takes_times) const {
  Window window{false, std::numeric_limits<std::int64_t>::min(),
                std::numeric_limits<std::int64_t>::max()};
  const auto limit = [&](const char* day, const char* time, bool is_end) {
    std::optional<std::int64_t> bound;
    if (const std::string* text = asked.Parameter(time); text != nullptr && takes_times) {
      bound = ParseSiteTime(options_.zone, *text);
    }
    if (const std::string* text = asked.Parameter(day); text != nullptr && !bound) {
      bound = ParseSiteDay(options_.zone, std::string_view(*text).substr(0, 10));
      // The whole last day belongs to it; 25 hours, where the clock is put back.
      if (bound && is_end) {
        *bound = *ParseSiteDay(options_.zone, SiteDate(options_.zone, *bound + 26 * 3'600)) - 1;
      }
    }
    if (!bound) return;
    window.is_limited = true;
    (is_end ? window.end : window.begin) = *bound;
  };
  limit("start_date", "start_datetime", false);
  limit("end_date", "end_datetime", true);
  return window;
}

Answer Chargify::Handle(WallTime now, const Asked& asked) {
  const std::string_view authorization = asked.Header("Authorization");
  std::optional<std::string> plain;
  if (authorization.substr(0, 6) == "Basic ") plain = Base64Decode(authorization.substr(6));
  if (!plain || (*plain != key_ + ":x" && *plain != key_ + ":X")) {
    Answer answer = Json(now, 401, "HTTP Basic: Access denied.\n");
    answer.headers[0].second = "text/plain; charset=utf-8";
    answer.headers.emplace_back("WWW-Authenticate", "Basic realm=\"Chargify API\"");
    return answer;
  }
  if (asked.method != "GET") return NotFound(now);
  const std::vector<std::string>& path = asked.segments;
  if (path.empty()) return NotFound(now);
  if (path.size() == 1) {
    if (path[0] == "site.json") return SiteJson(now);
    if (path[0] == "customers.json") return Customers(now, asked);
    if (path[0] == "subscriptions.json") return Subscriptions(now, asked);
    if (path[0] == "events.json") return Events(now, asked, nullptr, false);
    if (path[0] == "endpoints.json") return Endpoints(now);
    if (path[0] == "invoices.json" && options_.switches.offers_invoices)
      return Invoices(now, asked);
    if (path[0] == "subscriptions_components.json" && options_.switches.offers_components) {
      return AllComponents(now, asked);
    }
    return Catalogue(now, asked);
  }
  std::uint32_t index = 0;
  const auto find = [&](const auto& table, std::optional<std::int64_t> id) {
    return id && table.Find(*id, &index) && table.is_shown(index);
  };
  if (path[0] == "events" && path[1] == "count.json") return Events(now, asked, nullptr, true);
  if (path[0] == "customers") {
    if (path.size() == 2 && path[1] == "lookup.json") {
      const std::string* reference = asked.Parameter("reference");
      for (const std::uint32_t i : site_.customers().order()) {
        const Customer& row = site_.customers().shown(i);
        if (reference == nullptr || reference->empty() || row.reference != *reference) continue;
        std::string body = "{\"customer\":";
        site_.WriteCustomer(body, row);
        return Json(now, 200, body + "}");
      }
      return NotFound(now);
    }
    if (path.size() == 2) {
      if (!find(site_.customers(), IdOf(path[1]))) return NotFound(now);
      std::string body = "{\"customer\":";
      site_.WriteCustomer(body, site_.customers().shown(index));
      return Json(now, 200, body + "}");
    }
    if (path.size() == 3 && path[2] == "subscriptions.json") {
      if (!find(site_.customers(), ParseInteger(path[1]))) return NotFound(now);
      std::string body = "[";
      for (const std::uint32_t i : site_.subscriptions_of(index)) {
        if (!site_.subscriptions().is_shown(i) ||
            site_.subscriptions().shown(i).customer != index) {
          continue;
        }
        if (body.size() > 1) body += ",";
        body += "{\"subscription\":";
        site_.WriteSubscription(body, site_.subscriptions().shown(i), true);
        body += "}";
      }
      return Json(now, 200, body + "]");
    }
    return NotFound(now);
  }
  if (path[0] == "subscriptions") {
    if (path.size() == 2) {
      if (!find(site_.subscriptions(), IdOf(path[1]))) return NotFound(now);
      std::string body = "{\"subscription\":";
      site_.WriteSubscription(body, site_.subscriptions().shown(index), true);
      return Json(now, 200, body + "}");
    }
    if (path.size() == 3 && find(site_.subscriptions(), ParseInteger(path[1]))) {
      if (path[2] == "components.json" && options_.switches.offers_components) {
        return SubscriptionComponents(now, index);
      }
      if (path[2] == "events.json") return Events(now, asked, &index, false);
    }
    return NotFound(now);
  }
  if (path[0] == "invoices" && path.size() == 2 && options_.switches.offers_invoices) {
    const std::size_t dot = path[1].rfind(".json");
    if (dot == std::string::npos) return NotFound(now);
    if (!find(site_.invoices(), Site::InvoiceIdOf(std::string_view(path[1]).substr(0, dot)))) {
      return NotFound(now);
    }
    std::string body;
    // Alone it comes without a wrapper.
    site_.WriteInvoice(body, site_.invoices().shown(index));
    return Json(now, 200, body);
  }
  return Catalogue(now, asked);
}

Answer Chargify::SiteJson(WallTime now) const {
  std::string body = "{\"site\":";
  ObjectText object(body);
  object.Integer("id", site_.site_id());
  object.Text("name", options_.tenant);
  object.Text("subdomain", options_.tenant);
  object.Text("currency", "USD");
  object.Integer("seller_id", 3'023);
  object.Raw("non_primary_currencies", "[]");
  object.Boolean("relationship_invoicing_enabled", options_.switches.offers_invoices);
  object.Boolean("customer_hierarchy_enabled", false);
  object.Boolean("whopays_enabled", false);
  object.Text("default_payment_collection_method", "automatic");
  // A text, not a truth value: so it is.
  object.Raw("allocation_settings",
             R"({"upgrade_charge":"prorated","downgrade_credit":"none","accrue_charge":"true"})");
  object.Boolean("test", true);
  object.End();
  return Json(now, 200, body + "}");
}

Answer Chargify::Endpoints(WallTime now) const {
  std::string body = "[";
  for (const Endpoint& endpoint : endpoints_) {
    if (body.size() > 1) body += ",";
    // Without a wrapper, in the list.
    ObjectText object(body);
    object.Integer("id", endpoint.id);
    object.Text("url", endpoint.url);
    object.Integer("site_id", site_.site_id());
    object.Text("status", endpoint.status);
    object.Raw("webhook_subscriptions", R"(["payment_success","payment_failure"])");
    object.End();
  }
  return Json(now, 200, body + "]");
}

Answer Chargify::Customers(WallTime now, const Asked& asked) {
  const Page page = PageFrom(asked, 50);
  if (!page.error.empty()) return Json(now, 422, page.error);
  const Table<Customer>& table = site_.customers();
  const std::string* field = asked.Parameter("date_field");
  const bool by_update = Is(field, "updated_at");
  Window window = WindowFrom(asked, true);
  // A field that it does not know takes the filter with it, and nothing says so.
  if (!by_update && !Is(field, "created_at")) window.is_limited = false;
  const std::string* words = asked.Parameter("q");
  std::vector<std::uint32_t> filtered;
  const bool is_filtered = window.is_limited || (words != nullptr && !words->empty());
  if (is_filtered) {
    for (const std::uint32_t i : table.order()) {
      if (window.is_limited) {
        const std::int64_t at = by_update ? table.shown_updated(i) : table.shown(i).created;
        if (at < window.begin || at > window.end) continue;
      }
      if (words != nullptr && !words->empty()) {
        const Customer& row = table.shown(i);
        if (!Contains(row.email, *words) && !Contains(row.first_name, *words) &&
            !Contains(row.last_name, *words) && !Contains(row.reference, *words) &&
            std::to_string(row.id).find(*words) == std::string::npos) {
          continue;
        }
      }
      filtered.push_back(i);
    }
  }
  // By time of creation only; there is no `sort`.
  const auto rows = PageOf(
      is_filtered ? filtered : table.order(),
      [&](std::uint32_t i) { return table.shown(i).created; }, true,
      Is(asked.Parameter("direction"), "desc"), page.number, page.size, Nonce());
  std::string body = "[";
  for (const std::uint32_t i : rows) {
    if (body.size() > 1) body += ",";
    body += "{\"customer\":";
    site_.WriteCustomer(body, table.shown(i));
    body += "}";
  }
  Answer answer = Json(now, 200, body + "]");
  site_.PageWasRead(now);
  return answer;
}

Answer Chargify::Subscriptions(WallTime now, const Asked& asked) {
  const Page page = PageFrom(asked, 20);
  if (!page.error.empty()) return Json(now, 422, page.error);
  const Table<Subscription>& table = site_.subscriptions();
  const std::string* field = asked.Parameter("date_field");
  const bool by_update = Is(field, "updated_at");
  const bool by_creation = Is(field, "created_at") || Is(field, "activated_at");
  Window window = WindowFrom(asked, true);
  if (!by_update && !by_creation) window.is_limited = false;
  const std::string* state = asked.Parameter("state");
  const std::string* customer = asked.Parameter("customer_id");
  std::vector<std::uint32_t> filtered;
  const bool is_filtered = window.is_limited || state != nullptr || customer != nullptr;
  if (is_filtered) {
    for (const std::uint32_t i : table.order()) {
      if (window.is_limited) {
        const std::int64_t at = by_update ? table.shown_updated(i) : table.shown(i).created;
        if (at < window.begin || at > window.end) continue;
      }
      if (state != nullptr && table.shown(i).state != *state) continue;
      if (customer != nullptr &&
          std::to_string(site_.customers().latest(table.shown(i).customer).id) != *customer) {
        continue;
      }
      filtered.push_back(i);
    }
  }
  const std::vector<std::uint32_t>& from = is_filtered ? filtered : table.order();
  const std::string* sort = asked.Parameter("sort");
  const bool is_descending = Is(asked.Parameter("direction"), "desc");
  std::vector<std::uint32_t> rows;
  if (Is(sort, "updated_at")) {
    rows = PageOf(
        from, [&](std::uint32_t i) { return table.shown_updated(i); }, false, is_descending,
        page.number, page.size, Nonce());
  } else if (Is(sort, "id")) {
    rows = PageOf(
        from, [](std::uint32_t i) { return i; }, true, is_descending, page.number, page.size, 0);
  } else {
    rows = PageOf(
        from, [&](std::uint32_t i) { return table.shown(i).created; }, true, is_descending,
        page.number, page.size, Nonce());
  }
  std::string body = "[";
  for (const std::uint32_t i : rows) {
    if (body.size() > 1) body += ",";
    body += "{\"subscription\":";
    site_.WriteSubscription(body, table.shown(i), true);
    body += "}";
  }
  Answer answer = Json(now, 200, body + "]");
  site_.PageWasRead(now);
  return answer;
}

Answer Chargify::SubscriptionComponents(WallTime now, std::uint32_t subscription) {
  std::string body = "[";
  for (const std::uint32_t i : site_.allocations_of(subscription)) {
    if (!site_.allocations().is_shown(i)) continue;
    if (body.size() > 1) body += ",";
    body += "{\"component\":";
    site_.WriteAllocation(body, site_.allocations().shown(i));
    body += "}";
  }
  return Json(now, 200, body + "]");
}

Answer Chargify::AllComponents(WallTime now, const Asked& asked) {
  const Page page = PageFrom(asked, 20);
  if (!page.error.empty()) return Json(now, 422, page.error);
  const Table<Allocation>& table = site_.allocations();
  Window window = WindowFrom(asked, true);
  if (!Is(asked.Parameter("date_field"), "updated_at")) window.is_limited = false;
  // Given as a list, with commas or repeated.
  std::vector<std::int64_t> of;
  for (const auto& [name, value] : asked.query) {
    if (name != "subscription_ids" && name != "subscription_ids[]") continue;
    std::string_view rest = value;
    while (!rest.empty()) {
      const std::size_t comma = rest.find(',');
      if (const auto id = ParseInteger(rest.substr(0, comma)); id) of.push_back(*id);
      rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    }
  }
  std::vector<std::uint32_t> filtered;
  const bool is_filtered = window.is_limited || !of.empty();
  if (!of.empty()) {
    for (const std::int64_t id : of) {
      std::uint32_t subscription = 0;
      if (!site_.subscriptions().Find(id, &subscription)) continue;
      for (const std::uint32_t i : site_.allocations_of(subscription)) {
        if (table.is_shown(i)) filtered.push_back(i);
      }
    }
    std::sort(filtered.begin(), filtered.end());
    filtered.erase(std::unique(filtered.begin(), filtered.end()), filtered.end());
  } else if (is_filtered) {
    filtered = table.order();
  }
  if (window.is_limited) {
    std::erase_if(filtered, [&](std::uint32_t i) {
      return table.shown_updated(i) < window.begin || table.shown_updated(i) > window.end;
    });
  }
  const std::vector<std::uint32_t>& from = is_filtered ? filtered : table.order();
  const bool is_descending = Is(asked.Parameter("direction"), "desc");
  const auto rows = Is(asked.Parameter("sort"), "updated_at")
                        ? PageOf(
                              from, [&](std::uint32_t i) { return table.shown_updated(i); }, false,
                              is_descending, page.number, page.size, Nonce())
                        : PageOf(
                              from, [](std::uint32_t i) { return i; }, true, is_descending,
                              page.number, page.size, 0);
  std::string body = "{\"subscriptions_components\":[";
  bool is_first = true;
  for (const std::uint32_t i : rows) {
    if (!is_first) body += ",";
    is_first = false;
    site_.WriteAllocation(body, table.shown(i));
  }
  Answer answer = Json(now, 200, body + "]}");
  site_.PageWasRead(now);
  return answer;
}

Answer Chargify::Invoices(WallTime now, const Asked& asked) {
  const Page page = PageFrom(asked, 20);
  if (!page.error.empty()) return Json(now, 422, page.error);
  const Table<Invoice>& table = site_.invoices();
  const std::string* field = asked.Parameter("date_field");
  const bool by_update = Is(field, "updated_at");
  const bool by_creation = Is(field, "created_at") || Is(field, "issue_date");
  const bool by_payment = Is(field, "paid_date");
  // Times only for these two; and without a field it is the due date.
  Window window = WindowFrom(asked, by_update || Is(field, "created_at"));
  const bool is_known =
      field == nullptr || by_update || by_creation || by_payment || *field == "due_date";
  if (!is_known) window.is_limited = false;
  const std::string* status = asked.Parameter("status");
  const std::string* subscription = asked.Parameter("subscription_id");
  std::vector<std::uint32_t> filtered;
  const bool is_filtered = window.is_limited || status != nullptr || subscription != nullptr;
  if (is_filtered) {
    for (const std::uint32_t i : table.order()) {
      if (window.is_limited) {
        const std::int64_t at = by_update     ? table.shown_updated(i)
                                : by_creation ? table.shown(i).created
                                : by_payment  ? table.shown(i).paid_date
                                              : table.shown(i).due_date;
        if (at == 0 || at < window.begin || at > window.end) continue;
      }
      if (status != nullptr && table.shown(i).status != *status) continue;
      if (subscription != nullptr &&
          std::to_string(site_.subscriptions().latest(table.shown(i).subscription).id) !=
              *subscription) {
        continue;
      }
      filtered.push_back(i);
    }
  }
  const std::vector<std::uint32_t>& from = is_filtered ? filtered : table.order();
  const bool is_descending = !Is(asked.Parameter("direction"), "asc");
  const std::string* sort = asked.Parameter("sort");
  std::vector<std::uint32_t> rows;
  if (Is(sort, "updated_at")) {
    rows = PageOf(
        from, [&](std::uint32_t i) { return table.shown_updated(i); }, false, is_descending,
        page.number, page.size, Nonce());
  } else if (Is(sort, "created_at") || Is(sort, "issue_date")) {
    rows = PageOf(
        from, [&](std::uint32_t i) { return table.shown(i).created; }, true, is_descending,
        page.number, page.size, Nonce());
  } else if (Is(sort, "due_date")) {
    rows = PageOf(
        from, [&](std::uint32_t i) { return table.shown(i).due_date; }, false, is_descending,
        page.number, page.size, Nonce());
  } else {
    rows = PageOf(
        from, [](std::uint32_t i) { return i; }, true, is_descending, page.number, page.size, 0);
  }
  std::string body = "{\"invoices\":[";
  bool is_first = true;
  for (const std::uint32_t i : rows) {
    if (!is_first) body += ",";
    is_first = false;
    site_.WriteInvoice(body, table.shown(i));
  }
  Answer answer = Json(now, 200, body + "]}");
  site_.PageWasRead(now);
  return answer;
}

Answer Chargify::Events(WallTime now, const Asked& asked, const std::uint32_t* subscription,
                        bool counts_only) {
  const Page page = PageFrom(asked, 20);
  if (!page.error.empty()) return Json(now, 422, page.error);
  const Table<Event>& table = site_.events();
  const std::vector<std::uint32_t>& order = table.order();
  auto begin = order.begin();
  auto end = order.end();
  // Both ends belong to it.
  if (const std::string* text = asked.Parameter("since_id"); text != nullptr) {
    if (const auto id = ParseInteger(*text); id) {
      begin = std::lower_bound(begin, end, *id, [&](std::uint32_t i, std::int64_t bound) {
        return table.shown(i).id < bound;
      });
    }
  }
  if (const std::string* text = asked.Parameter("max_id"); text != nullptr) {
    if (const auto id = ParseInteger(*text); id) {
      end = std::upper_bound(begin, end, *id, [&](std::int64_t bound, std::uint32_t i) {
        return bound < table.shown(i).id;
      });
    }
  }
  Window window = WindowFrom(asked, true);
  if (!Is(asked.Parameter("date_field"), "created_at") || subscription != nullptr) {
    window.is_limited = false;
  }
  const std::string* filter = asked.Parameter("filter");
  std::vector<std::uint32_t> rows;
  if (!window.is_limited && filter == nullptr && subscription == nullptr && !counts_only) {
    // No filter: only the page is touched.
    const std::int64_t count = end - begin;
    const std::int64_t first = std::min(count, (page.number - 1) * page.size);
    const std::int64_t last = std::min(count, first + page.size);
    const bool is_ascending = Is(asked.Parameter("direction"), "asc");
    for (std::int64_t i = first; i < last; ++i) {
      rows.push_back(*(begin + (is_ascending ? i : count - 1 - i)));
    }
  } else {
    std::vector<std::uint32_t> filtered;
    for (auto i = begin; i != end; ++i) {
      const Event& row = table.shown(*i);
      if (window.is_limited && (row.created < window.begin || row.created > window.end)) continue;
      if (subscription != nullptr && row.subscription != *subscription) continue;
      if (filter != nullptr && !filter->empty() &&
          ("," + *filter + ",").find("," + row.key + ",") == std::string::npos) {
        continue;
      }
      filtered.push_back(*i);
    }
    if (counts_only) {
      return Json(now, 200, "{\"count\":" + std::to_string(filtered.size()) + "}");
    }
    rows = PageOf(
        filtered, [](std::uint32_t i) { return i; }, true, !Is(asked.Parameter("direction"), "asc"),
        page.number, page.size, 0);
  }
  std::string body = "[";
  for (const std::uint32_t i : rows) {
    if (body.size() > 1) body += ",";
    body += "{\"event\":";
    site_.WriteEvent(body, table.shown(i));
    body += "}";
  }
  Answer answer = Json(now, 200, body + "]");
  site_.PageWasRead(now);
  return answer;
}

Answer Chargify::Catalogue(WallTime now, const Asked& asked) const {
  const std::vector<std::string>& path = asked.segments;
  const std::string family =
      R"({"id":527890,"name":"Plans","handle":"plans","accounting_code":null,"description":""})";
  if (path.size() == 1 && path[0] == "product_families.json") {
    return Json(now, 200, "[{\"product_family\":" + family + "}]");
  }
  if (path.size() == 2 && path[0] == "product_families" && path[1] == "527890.json") {
    return Json(now, 200, "{\"product_family\":" + family + "}");
  }
  const bool is_of_family =
      path.size() == 3 && path[0] == "product_families" && path[2] == "products.json";
  if (is_of_family && path[1] != "527890") {
    Answer answer = Json(now, 404, "A valid product_family_id is required");
    answer.headers[0].second = "text/plain";
    return answer;
  }
  if (is_of_family || (path.size() == 1 && path[0] == "products.json")) {
    const Page page = PageFrom(asked, 20);
    if (!page.error.empty()) return Json(now, 422, page.error);
    std::string body = "[";
    if (page.number == 1) {
      for (const Product& product : Site::products()) {
        if (body.size() > 1) body += ",";
        body += "{\"product\":";
        site_.WriteProduct(body, product);
        body += "}";
      }
    }
    return Json(now, 200, body + "]");
  }
  if (path.size() == 2 && path[0] == "products") {
    for (const Product& product : Site::products()) {
      if (IdOf(path[1]) != product.id) continue;
      std::string body = "{\"product\":";
      site_.WriteProduct(body, product);
      return Json(now, 200, body + "}");
    }
  }
  return NotFound(now);
}

}  // namespace tributary::simulator
