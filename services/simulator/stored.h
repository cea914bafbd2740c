#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "libs/json/value.h"
#include "libs/time/time.h"

// What a CRM has stored, in a form in which it can be compared with what it should have.

namespace tributary::simulator {

/// Path of a field to its value in one spelling: absent, null and empty are one, and so are two
/// spellings of one decimal.
using Flat = std::map<std::string, std::string>;

/// Parts of a record that are written apart, because it may rightly be ahead in one and behind in
/// another: they come from different entities, or, as a contact's company, take a request of their
/// own.
enum class Part : std::uint8_t { kCustomer, kCompany, kSubscriptions };

/// A state of a record right after a write, to be recognised later.
struct Mark {
  WallTime at;
  std::uint32_t record = 0;
  std::uint64_t customer = 0;
  std::uint64_t company = 0;
  std::uint64_t subscriptions = 0;
  /// HighLevel: hash of the customer that the contact named then. One with the e-mail of another
  /// takes the other's contact.
  std::uint64_t of = 0;
};

std::string CanonicalText(const json::Value& value);
/// Without exponent, sign of zero or padding; what is no decimal stays as it is.
std::string CanonicalDecimal(std::string_view text);
/// Sets `out[path]` for each leaf; lists are leaves.
void Flatten(const std::string& path, const json::Value& value, Flat& out);
/// Hash of the fields of `flat` that come from that part.
std::uint64_t HashOfPart(const Flat& flat, Part part);
/// The form in which HighLevel keeps numbers: `+` and digits.
std::string PlainPhone(std::string_view phone);

}  // namespace tributary::simulator
