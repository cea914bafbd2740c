#include "services/simulator/judge.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "libs/json/value.h"
#include "services/simulator/random.h"

namespace tributary::simulator {
namespace {

constexpr std::size_t kProblemsMax = 50;
constexpr std::string_view kTagPrefix = "chargify:";
/// The members of documents that are looked at below.
constexpr std::array<std::string_view, 24> kJudged = {"id",
                                                      "first_name",
                                                      "last_name",
                                                      "email",
                                                      "phone",
                                                      "organization",
                                                      "address",
                                                      "city",
                                                      "state",
                                                      "zip",
                                                      "country",
                                                      "customer",
                                                      "product",
                                                      "handle",
                                                      "balance_in_cents",
                                                      "subscription_id",
                                                      "component_handle",
                                                      "component_id",
                                                      "kind",
                                                      "unit_balance",
                                                      "allocated_quantity",
                                                      "customer_id",
                                                      "status",
                                                      "due_amount"};

struct PartHashes {
  std::uint64_t customer = 0;
  std::uint64_t subscriptions = 0;
};

struct Owned {
  std::string customer;
  std::string state;
  std::string plan;
  std::int64_t balance = 0;
};

struct Bill {
  std::string customer;
  std::string status;
  std::int64_t due_in_hundred_millionths = 0;
};

struct Usage {
  std::string subscription;
  std::string handle;
  std::int64_t quantity_in_hundred_millionths = 0;
};

/// What a CRM would show of a customer, from then on.
struct Moment {
  WallTime since;
  std::uint64_t hash = 0;
};

struct Person {
  bool is_gone = false;
  std::map<std::string, std::string> fields;
  std::set<std::string> subscriptions;
  /// How many it ever had; with one at most, its history is a sequence.
  std::set<std::string> subscriptions_ever;
  std::set<std::string> invoices;
  std::vector<Moment> highlevel_customer;
  std::vector<Moment> highlevel_company;
  std::vector<Moment> highlevel_subscriptions;
  std::vector<Moment> rest_customer;
  std::vector<Moment> rest_subscriptions;
};

std::string TextAt(const json::Value& document, std::string_view path) {
  const json::Value* value = document.FindPath(path);
  return value == nullptr ? "" : CanonicalText(*value);
}

// Decimals with up to 8 places as integers, so that sums are exact.
std::int64_t Scaled(const std::string& text) {
  const std::string plain = CanonicalDecimal(text);
  const std::size_t dot = plain.find('.');
  std::string part = dot == std::string::npos ? "" : plain.substr(dot + 1);
  part.resize(8, '0');
  return ParseInteger(plain.substr(0, dot) + part).value_or(0);
}

std::string Unscaled(std::int64_t value) {
  const bool is_negative = value < 0;
  std::string digits = std::to_string(is_negative ? -value : value);
  if (digits.size() < 9) digits.insert(0, 9 - digits.size(), '0');
  return CanonicalDecimal((is_negative ? "-" : "") + digits.substr(0, digits.size() - 8) + "." +
                          digits.substr(digits.size() - 8));
}

std::string Joined(const std::set<std::string>& words) {
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += ", ";
    out += word;
  }
  return out;
}

std::string Trimmed(std::string text) {
  while (!text.empty() && text.front() == ' ') text.erase(text.begin());
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

class Fold {
 public:
  void Take(const History::Entry& entry) {
    if (entry.op == History::Op::kEvent) return;
    const bool is_gone = entry.op == History::Op::kGone;
    absl::StatusOr<json::Value> document = json::Value();
    if (!is_gone) document = json::Parse(entry.document);
    if (!document.ok()) return;
    const bool is_base = entry.sequence == 0;
    if (!is_base && !live_) {
      live_ = true;
      for (auto& [customer, person] : people_) Note(customer, person);
    }
    if (!is_base) now_ = entry.time;
    const std::string id(entry.id);
    touched_.clear();
    if (entry.kind == "customers") {
      TakeCustomer(id, is_gone, *document);
    } else if (entry.kind == "subscriptions") {
      TakeSubscription(id, is_gone, *document);
    } else if (entry.kind == "invoices") {
      TakeInvoice(id, is_gone, *document);
    } else if (entry.kind == "components") {
      TakeComponent(id, is_gone, *document);
    }
    if (!live_) return;
    for (const std::string& customer : touched_) {
      const auto found = people_.find(customer);
      if (found != people_.end()) Note(customer, found->second);
    }
  }

  void Finish() {
    if (live_) return;
    for (auto& [customer, person] : people_) Note(customer, person);
  }

  const std::map<std::string, Person>& people() const { return people_; }
  bool shares_email(const Person& person) const {
    const auto found = emails_.find(person.fields.at("email"));
    return conflicted_.count(person.fields.at("id")) > 0 ||
           (found != emails_.end() && found->second.size() > 1);
  }

  Flat ExpectedClient(const std::string& customer, const Person& person) const {
    Flat flat;
    const auto set = [&](const std::string& path, const std::string& text) {
      if (!text.empty()) flat[path] = text;
    };
    const auto field = [&](const char* name) { return person.fields.at(name); };
    set("client_id", customer);
    set("name", Trimmed(field("first_name") + " " + field("last_name")));
    set("email", field("email"));
    set("phone", field("phone"));
    set("organization", field("organization"));
    AddTotals(person, flat, "account.");
    set("status", Status(person));
    std::int64_t open = 0;
    std::int64_t due = 0;
    for (const std::string& id : person.invoices) {
      const Bill& bill = invoices_.at(id);
      if (bill.status != "open") continue;
      ++open;
      due += bill.due_in_hundred_millionths;
    }
    set("account.open_invoices", std::to_string(open));
    set("account.due_amount", Unscaled(due));
    std::map<std::string, std::int64_t> usage;
    for (const std::string& subscription : person.subscriptions) {
      const auto parts = components_of_.find(subscription);
      if (parts == components_of_.end()) continue;
      for (const std::string& part : parts->second) {
        const Usage& row = components_.at(part);
        usage[row.handle] += row.quantity_in_hundred_millionths;
      }
    }
    for (const auto& [handle, quantity] : usage) set("reporting." + handle, Unscaled(quantity));
    return flat;
  }

  Flat ExpectedContact(const std::string& customer, const Person& person) const {
    Flat flat;
    const auto set = [&](const std::string& path, const std::string& text) {
      if (!text.empty()) flat[path] = text;
    };
    const auto field = [&](const char* name) { return person.fields.at(name); };
    set("email", field("email"));
    set("firstName", field("first_name"));
    set("lastName", field("last_name"));
    set("phone", PlainPhone(field("phone")));
    set("companyName", field("organization"));
    set("address1", field("address"));
    set("city", field("city"));
    set("state", field("state"));
    set("postalCode", field("zip"));
    set("country", field("country"));
    set("customFields.chargify_customer_id", customer);
    AddTotals(person, flat, "customFields.chargify_");
    return flat;
  }

  std::set<std::string> ExpectedTags(const Person& person) const {
    std::set<std::string> tags;
    if (person.is_gone) return {std::string(kTagPrefix) + "gone"};
    for (const std::string& id : person.subscriptions) {
      tags.insert(std::string(kTagPrefix) + Lowered(subscriptions_.at(id).state));
    }
    return tags;
  }

 private:
  std::string Status(const Person& person) const {
    static const std::set<std::string> kLive = {"active",  "assessing",    "past_due", "paused",
                                                "pending", "soft_failure", "trialing", "unpaid"};
    if (person.is_gone) return "gone";
    for (const std::string& id : person.subscriptions) {
      if (kLive.count(subscriptions_.at(id).state) > 0) return "active";
    }
    return "inactive";
  }

  // The same totals, as each of the two names and writes them.
  void AddTotals(const Person& person, Flat& flat, const std::string& prefix) const {
    std::set<std::string> states;
    std::set<std::string> plans;
    std::int64_t balance = 0;
    for (const std::string& id : person.subscriptions) {
      const Owned& subscription = subscriptions_.at(id);
      states.insert(subscription.state);
      if (!subscription.plan.empty()) plans.insert(subscription.plan);
      balance += subscription.balance;
    }
    const bool is_contact = prefix != "account.";
    if (!states.empty()) flat[prefix + "states"] = Joined(states);
    if (!plans.empty()) flat[prefix + "plans"] = Joined(plans);
    if (is_contact) {
      flat[prefix + "balance"] = Unscaled(balance * 1'000'000);
    } else {
      flat[prefix + "balance_in_cents"] = std::to_string(balance);
      flat[prefix + "subscriptions"] = std::to_string(person.subscriptions.size());
    }
  }

  void TakeCustomer(const std::string& id, bool is_gone, const json::Value& document) {
    Person& person = people_[id];
    touched_.insert(id);
    person.is_gone = is_gone;
    person.fields["id"] = id;
    for (const char* field : {"first_name", "last_name", "email", "phone", "organization",
                              "address", "city", "state", "zip", "country"}) {
      if (!is_gone) {
        person.fields[field] = TextAt(document, field);
      } else {
        person.fields.try_emplace(field);
      }
    }
    std::set<std::string>& holders = emails_[person.fields["email"]];
    holders.insert(id);
    if (holders.size() > 1) conflicted_.insert(holders.begin(), holders.end());
  }

  void TakeSubscription(const std::string& id, bool is_gone, const json::Value& document) {
    if (const auto old = subscriptions_.find(id); old != subscriptions_.end()) {
      touched_.insert(old->second.customer);
      people_[old->second.customer].subscriptions.erase(id);
      if (is_gone) subscriptions_.erase(old);
    }
    if (is_gone) return;
    Owned& row = subscriptions_[id];
    row.customer = TextAt(document, "customer.id");
    row.state = TextAt(document, "state");
    row.plan = TextAt(document, "product.handle");
    row.balance = ParseInteger(TextAt(document, "balance_in_cents")).value_or(0);
    people_[row.customer].subscriptions.insert(id);
    people_[row.customer].subscriptions_ever.insert(id);
    touched_.insert(row.customer);
  }

  void TakeInvoice(const std::string& id, bool is_gone, const json::Value& document) {
    if (const auto old = invoices_.find(id); old != invoices_.end()) {
      people_[old->second.customer].invoices.erase(id);
      if (is_gone) invoices_.erase(old);
    }
    if (is_gone) return;
    Bill& row = invoices_[id];
    row.customer = TextAt(document, "customer_id");
    row.status = TextAt(document, "status");
    row.due_in_hundred_millionths = Scaled(TextAt(document, "due_amount"));
    people_[row.customer].invoices.insert(id);
  }

  void TakeComponent(const std::string& id, bool is_gone, const json::Value& document) {
    if (const auto old = components_.find(id); old != components_.end()) {
      components_of_[old->second.subscription].erase(id);
      if (is_gone) components_.erase(old);
    }
    if (is_gone) return;
    Usage& row = components_[id];
    row.subscription = TextAt(document, "subscription_id");
    row.handle = TextAt(document, "component_handle");
    const bool is_metered = TextAt(document, "kind") == "metered_component";
    row.quantity_in_hundred_millionths =
        Scaled(TextAt(document, is_metered ? "unit_balance" : "allocated_quantity"));
    components_of_[row.subscription].insert(id);
  }

  // Remembers what each CRM would show of this customer now.
  void Note(const std::string& customer, Person& person) {
    if (person.fields.empty()) return;
    const auto push = [this](std::vector<Moment>& states, std::uint64_t hash) {
      if (states.empty() || states.back().hash != hash) states.push_back({now_, hash});
    };
    if (person.rest_subscriptions.empty()) {
      // A reader learns of a customer before it has read their subscriptions.
      Person bare = person;
      bare.subscriptions.clear();
      push(person.highlevel_subscriptions,
           HashOfPart(ExpectedContact(customer, bare), Part::kSubscriptions));
      push(person.rest_subscriptions,
           HashOfPart(ExpectedClient(customer, bare), Part::kSubscriptions));
    }
    const Flat contact = ExpectedContact(customer, person);
    push(person.highlevel_customer, HashOfPart(contact, Part::kCustomer));
    push(person.highlevel_company, HashOfPart(contact, Part::kCompany));
    push(person.highlevel_subscriptions, HashOfPart(contact, Part::kSubscriptions));
    const Flat client = ExpectedClient(customer, person);
    push(person.rest_customer, HashOfPart(client, Part::kCustomer));
    push(person.rest_subscriptions, HashOfPart(client, Part::kSubscriptions));
  }

  bool live_ = false;
  // Of the mutation that is being folded; what stood at the beginning stood always.
  WallTime now_{};
  std::map<std::string, Person> people_;
  std::unordered_map<std::string, Owned> subscriptions_;
  std::unordered_map<std::string, Bill> invoices_;
  std::unordered_map<std::string, Usage> components_;
  std::unordered_map<std::string, std::set<std::string>> components_of_;
  std::unordered_map<std::string, std::set<std::string>> emails_;
  std::unordered_set<std::string> conflicted_;
  std::set<std::string> touched_;
};

class Court {
 public:
  explicit Court(Judgement& judgement) : judgement_(judgement) {}

  void Problem(std::int64_t& counter, std::string text) {
    ++counter;
    if (judgement_.problems.size() < kProblemsMax) judgement_.problems.push_back(std::move(text));
  }

  void Compare(const std::string& name, const Flat& expected, const Flat& actual,
               const std::set<std::string>& owned_prefixes) {
    const auto at = [](const Flat& flat, const std::string& path) {
      const auto found = flat.find(path);
      return found == flat.end() ? std::string() : found->second;
    };
    std::set<std::string> paths;
    for (const auto& [path, text] : expected) paths.insert(path);
    for (const auto& [path, text] : actual) {
      const std::size_t dot = path.find('.');
      if (owned_prefixes.count(dot == std::string::npos ? path : path.substr(0, dot)) > 0) {
        paths.insert(path);
      }
    }
    for (const std::string& path : paths) {
      std::string want = CanonicalDecimal(at(expected, path));
      std::string have = CanonicalDecimal(at(actual, path));
      // Nothing used and no such component read alike.
      const bool is_amount = path.rfind("reporting.", 0) == 0;
      if (is_amount && want.empty()) want = "0";
      if (is_amount && have.empty()) have = "0";
      if (want == have) continue;
      Problem(judgement_.mismatches,
              name + " " + path + ": has \"" + have + "\", should have \"" + want + "\"");
    }
  }

  // Each write is taken for the earliest state that it can be without going back. What was not yet
  // true when it was written it cannot be: a CRM may take one change in two requests, and the first
  // may look like what comes much later.
  void FindRegressions(const std::string& name, const std::vector<Moment>& states,
                       const std::vector<Moment>& writes) {
    std::size_t position = 0;
    for (const Moment& write : writes) {
      const auto is_it = [&write](const Moment& state) {
        return state.hash == write.hash && state.since <= write.since;
      };
      const auto from = states.begin() + static_cast<std::ptrdiff_t>(position);
      const auto later = std::find_if(from, states.end(), is_it);
      if (later != states.end()) {
        position = static_cast<std::size_t>(later - states.begin());
      } else if (std::find_if(states.begin(), from, is_it) != from) {
        Problem(judgement_.regressions, name + ": an older state was written over a newer one");
      }
    }
  }

 private:
  Judgement& judgement_;
};

void JudgeRest(const Fold& fold, const RestCrm& rest, Judgement& judgement) {
  static const std::set<std::string> kOwned = {"client_id",    "name",   "email",   "phone",
                                               "organization", "status", "account", "reporting"};
  Court court(judgement);
  std::set<std::string> seen;
  for (const RestCrm::Client& client : rest.clients()) {
    const auto found = fold.people().find(client.id);
    if (found == fold.people().end() || found->second.fields.empty()) {
      court.Problem(judgement.mismatches, "rest " + client.id + ": no such customer");
      continue;
    }
    seen.insert(client.id);
    const Flat actual = RestCrm::Flattened(client);
    if (found->second.is_gone) {
      const auto status = actual.find("status");
      if (status == actual.end() || status->second != "gone") {
        court.Problem(judgement.mismatches, "rest " + client.id + " status: should be \"gone\"");
      }
      continue;
    }
    court.Compare("rest " + client.id, fold.ExpectedClient(client.id, found->second), actual,
                  kOwned);
  }
  for (const auto& [id, person] : fold.people()) {
    if (person.fields.empty() || person.is_gone || seen.count(id) > 0) continue;
    court.Problem(judgement.mismatches, "rest " + id + ": is missing");
  }
  std::set<std::pair<std::string, std::string>> notes;
  for (const RestCrm::Note& note : rest.notes()) {
    if (note.external_id.empty() || notes.emplace(note.client_id, note.external_id).second)
      continue;
    court.Problem(judgement.duplicate_records,
                  "rest " + note.client_id + ": two notes " + note.external_id);
  }
  std::vector<std::vector<Moment>> customers(rest.clients().size());
  std::vector<std::vector<Moment>> subscriptions(rest.clients().size());
  for (const Mark& mark : rest.marks()) {
    customers[mark.record].push_back({mark.at, mark.customer});
    subscriptions[mark.record].push_back({mark.at, mark.subscriptions});
  }
  for (std::size_t i = 0; i < customers.size(); ++i) {
    const std::string& id = rest.clients()[i].id;
    const auto found = fold.people().find(id);
    if (found == fold.people().end()) continue;
    court.FindRegressions("rest " + id + " customer", found->second.rest_customer, customers[i]);
    if (found->second.subscriptions_ever.size() > 1) continue;
    court.FindRegressions("rest " + id + " account", found->second.rest_subscriptions,
                          subscriptions[i]);
  }
}

void JudgeHighLevel(const Fold& fold, const HighLevel& highlevel, Judgement& judgement) {
  static const std::set<std::string> kOwned = {"email",       "firstName", "lastName",    "phone",
                                               "companyName", "address1",  "city",        "state",
                                               "postalCode",  "country",   "customFields"};
  Court court(judgement);
  std::map<std::string, std::uint32_t> first;
  for (std::uint32_t i = 0; i < highlevel.contacts().size(); ++i) {
    const HighLevel::Contact& contact = highlevel.contacts()[i];
    if (contact.is_deleted) continue;
    std::set<std::string> bodies;
    for (const HighLevel::Note& note : contact.notes) {
      if (bodies.insert(note.body).second) continue;
      court.Problem(judgement.duplicate_records,
                    "highlevel " + contact.id + ": a note twice: " + note.body);
    }
    const Flat actual = HighLevel::Flattened(*contact.state);
    const auto marker = actual.find("customFields.chargify_customer_id");
    const std::string id = marker == actual.end() ? "" : marker->second;
    const auto found = fold.people().find(id);
    if (found == fold.people().end() || found->second.fields.empty()) {
      court.Problem(judgement.mismatches, "highlevel " + contact.id + ": of no customer");
      continue;
    }
    if (!first.emplace(id, i).second) {
      court.Problem(judgement.duplicate_records, "highlevel " + id + ": a second contact");
      continue;
    }
    const Person& person = found->second;
    std::set<std::string> tags;
    for (const std::string& tag : contact.state->tags) {
      if (tag.rfind(kTagPrefix, 0) == 0) tags.insert(tag);
    }
    if (person.is_gone) {
      if (tags.count(std::string(kTagPrefix) + "gone") == 0 && !fold.shares_email(person)) {
        court.Problem(judgement.mismatches, "highlevel " + id + " tags: should have chargify:gone");
      }
      continue;
    }
    if (fold.shares_email(person)) continue;
    court.Compare("highlevel " + id, fold.ExpectedContact(id, person), actual, kOwned);
    const std::set<std::string> wanted = fold.ExpectedTags(person);
    if (tags != wanted) {
      court.Problem(judgement.mismatches, "highlevel " + id + " tags: has \"" + Joined(tags) +
                                              "\", should have \"" + Joined(wanted) + "\"");
    }
  }
  for (const auto& [id, person] : fold.people()) {
    if (person.fields.empty() || person.is_gone || first.count(id) > 0 ||
        fold.shares_email(person)) {
      continue;
    }
    court.Problem(judgement.mismatches, "highlevel " + id + ": is missing");
  }
  std::vector<std::vector<Moment>> customers(highlevel.contacts().size());
  std::vector<std::vector<Moment>> companies(highlevel.contacts().size());
  std::vector<std::vector<Moment>> subscriptions(highlevel.contacts().size());
  std::vector<std::uint64_t> named(highlevel.contacts().size());
  for (const auto& [id, index] : first) named[index] = HashText(id);
  // What stands in a contact that was another's is of both, and no sequence of states of one.
  std::vector<bool> was_anothers(highlevel.contacts().size());
  for (const Mark& mark : highlevel.marks()) {
    was_anothers[mark.record] = was_anothers[mark.record] || mark.of != named[mark.record];
    customers[mark.record].push_back({mark.at, mark.customer});
    companies[mark.record].push_back({mark.at, mark.company});
    subscriptions[mark.record].push_back({mark.at, mark.subscriptions});
  }
  for (const auto& [id, index] : first) {
    if (was_anothers[index]) continue;
    const Person& person = fold.people().at(id);
    court.FindRegressions("highlevel " + id + " customer", person.highlevel_customer,
                          customers[index]);
    court.FindRegressions("highlevel " + id + " company", person.highlevel_company,
                          companies[index]);
    if (person.subscriptions_ever.size() > 1) continue;
    court.FindRegressions("highlevel " + id + " custom fields", person.highlevel_subscriptions,
                          subscriptions[index]);
  }
}

}  // namespace

struct RecordJudge::State {
  Fold fold;
  bool has_base = false;
  std::int64_t folded = 0;
};

RecordJudge::RecordJudge() : state_(std::make_unique<State>()) {}
RecordJudge::~RecordJudge() = default;

Judgement RecordJudge::Look(const Site& site, const HighLevel& highlevel, const RestCrm& rest,
                            JudgeScope scope) {
  State& s = *state_;
  const auto take = [&s](const History::Entry& entry) { s.fold.Take(entry); };
  if (!std::exchange(s.has_base, true)) site.ForEachBase(take, kJudged);
  site.history().ForEach(s.folded, take);
  s.folded = site.history().size();
  s.fold.Finish();
  Judgement judgement;
  if (scope.rest) JudgeRest(s.fold, rest, judgement);
  if (scope.highlevel) JudgeHighLevel(s.fold, highlevel, judgement);
  return judgement;
}

}  // namespace tributary::simulator
