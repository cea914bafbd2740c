#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "libs/json/value.h"
#include "services/extractor/documents.h"
#include "tests/fuzz/invariant.h"

// Answers of the source. Input: a byte for the list; the body. Every element of a page is a row or
// is told to people; a row's document is one, and its id is in it.

namespace tributary::extractor {
namespace {

using fuzz::Require;

/// Elements of the document, however it is wrapped. None: no page.
const json::Array* ElementsOf(const json::Value& body) {
  if (body.array() != nullptr) return body.array();
  if (body.object() == nullptr) return nullptr;
  for (const auto& [name, value] : *body.object()) {
    if (value.array() != nullptr) return value.array();
  }
  return nullptr;
}

void CheckRow(const Row& row) {
  Require(!row.id.empty(), "a row has an id");
  const absl::StatusOr<json::Value> document = json::Parse(row.document);
  Require(document.ok() && document->object() != nullptr, "a row's document is one");
  std::set<std::string> customers(row.customers.begin(), row.customers.end());
  Require(!customers.contains(""), "a customer that is named has a name");
}

void CheckText(std::string_view body) {
  const std::string text = ErrorText(body);
  Require(text.size() <= 4096, "what a source says is cut");
  Require(text.find('\n') == std::string::npos, "and is one line");
}

void Check(std::string_view input) {
  fuzz::Choices choices(input);
  const auto kind = static_cast<StreamKind>(choices.Below(kStreamKinds));
  const std::string_view body = choices.rest();
  const absl::StatusOr<json::Value> parsed = json::Parse(body);
  CheckText(body);

  const absl::StatusOr<RowPage> page = ParseList(kind, body);
  if (page.ok()) {
    Require(parsed.ok(), "a page is a document");
    for (const Row& row : page->rows) CheckRow(row);
    for (const std::string& problem : page->unreadable) {
      Require(!problem.empty() && problem.size() <= 4096, "what is no row is told in short");
    }
    const json::Array* elements = ElementsOf(*parsed);
    if (parsed->array() != nullptr) {
      Require(page->rows.size() + page->unreadable.size() == elements->size(),
              "no element is passed over");
    }
  }
  const absl::StatusOr<Row> single = ParseSingle(kind, body);
  if (single.ok()) {
    Require(parsed.ok(), "a single one is a document");
    CheckRow(*single);
  }
  const absl::StatusOr<EventPage> events = ParseEvents(body);
  if (events.ok()) {
    Require(parsed.ok(), "events are a document");
    for (const EventRow& event : events->rows) {
      Require(!event.id.empty() && !event.key.empty(), "an event has an id and a key");
      Require(json::Parse(event.document).ok(), "and a document");
    }
  }
}

}  // namespace
}  // namespace tributary::extractor

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tributary::extractor::Check(tributary::fuzz::TextOf(data, size));
  return 0;
}
