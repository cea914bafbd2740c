#include <algorithm>
#include <set>

#include "libs/cel/function_parts.h"

namespace tributary::cel {
namespace {

using Kind = Value::Kind;

Value Sort(const List& list, Budget& budget) {
  std::vector<Value> items = Items(list);
  std::size_t levels = 1;
  for (std::size_t n = items.size(); n > 1; n /= 2) ++levels;
  if (!budget.Spend(items.size() * levels)) return Value::Error("");
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!Compare(items[i], items[0])) {
      return Value::Error("sort: cannot compare element " + std::to_string(i) + " (" +
                          std::string(KindName(items[i].kind())) + ") with element 0 (" +
                          std::string(KindName(items[0].kind())) + ")");
    }
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const Value& a, const Value& b) { return *Compare(a, b) < 0; });
  return Value::OfList(std::move(items));
}

Value Distinct(const List& list, Budget& budget) {
  std::vector<Value> items;
  std::set<std::string> seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    Value item = list.at(i);
    std::string canonical;
    AppendCanonical(canonical, item);
    if (!budget.Spend(4 + canonical.size() / 16)) return Value::Error("");
    if (seen.insert(std::move(canonical)).second) items.push_back(std::move(item));
  }
  return Value::OfList(std::move(items));
}

Value Flatten(const List& list, Budget& budget) {
  std::vector<Value> items;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Value item = list.at(i);
    if (item.kind() != Kind::kList) {
      items.push_back(item);
    } else {
      if (!budget.Spend(item.list().size())) return Value::Error("");
      for (std::size_t j = 0; j < item.list().size(); ++j) items.push_back(item.list().at(j));
    }
    if (!budget.Spend(1)) return Value::Error("");
  }
  return Value::OfList(std::move(items));
}

}  // namespace

std::vector<Value> Items(const List& list) {
  std::vector<Value> items;
  items.reserve(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) items.push_back(list.at(i));
  return items;
}

Value Contains(const Value& item, const Value& range, Budget& budget) {
  if (range.kind() == Kind::kMap) {
    if (!budget.Spend(range.map().size() / 4)) return Value::Error("");
    for (std::size_t i = 0; i < range.map().size(); ++i) {
      if (range.map().name(i) == item.text()) return Value::Bool(true);
    }
    return Value::Bool(false);
  }
  for (std::size_t i = 0; i < range.list().size(); ++i) {
    if (!budget.Spend(1)) return Value::Error("");
    if (Equal(item, range.list().at(i))) return Value::Bool(true);
  }
  return Value::Bool(false);
}

Value CallList(Function function, std::span<const Value> arguments, Budget& budget) {
  const Value& a = arguments[0];
  switch (function) {
    case Function::kSort:
      return Sort(a.list(), budget);
    case Function::kDistinct:
      return Distinct(a.list(), budget);
    case Function::kReverse: {
      std::vector<Value> items = Items(a.list());
      if (!budget.Spend(items.size())) return Value::Error("");
      std::reverse(items.begin(), items.end());
      return Value::OfList(std::move(items));
    }
    case Function::kFlatten:
      return Flatten(a.list(), budget);
    case Function::kFirst:
      return a.list().size() == 0 ? Value() : a.list().at(0);
    case Function::kLast:
      return a.list().size() == 0 ? Value() : a.list().at(a.list().size() - 1);
    case Function::kKeys: {
      std::vector<Value> names;
      for (std::size_t i = 0; i < a.map().size(); ++i) {
        if (!budget.Spend(1)) return Value::Error("");
        names.push_back(Value::String(std::string(a.map().name(i))));
      }
      return Value::OfList(std::move(names));
    }
    default:
      return Value::Error("not known");
  }
}

}  // namespace tributary::cel
