#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>

#include "tests/unit/services/extractor/extractor_bench.h"

// What a first attempt at Chargify looks like, one small reader for each trap of the vendor's API.
// Each works on a quiet, small site; the tests beside show what it loses on a real one.

namespace tributary::extractor::testing::naive {

/// One GET; every call takes a moment of the site's time.
using Fetch = std::function<SiteAnswer(const std::string& path)>;
using Ids = std::set<std::string>;
/// Documents by id.
using Documents = std::map<std::string, std::string>;

/// Trap 1: takes every cursor for inclusive and drops the row that it thinks it has.
Ids EventsTakingCursorsForInclusive(const Fetch& fetch);
/// Trap 2: reads events in the default order, keeps the largest id, and dies after page one.
Ids EventsInDefaultOrderAfterACrash(const Fetch& fetch);
/// Trap 3: page 1, 2, 3, each row once.
Ids CustomersPageByPage(const Fetch& fetch, int per_page);
/// Trap 4: trusts the filter, so that one page is enough for a tail.
Documents ChangesTrustingTheFilter(const Fetch& fetch, const std::string& since);
/// Trap 5: keeps the largest updated_at while it reads, dies after page one, goes on from there.
Ids CustomersFromLargestUpdateAfterACrash(const Fetch& fetch, int per_page);
/// Trap 6: says when in UTC, without a zone.
Documents ChangesWithoutAZone(const Fetch& fetch, WallTime since);
/// Trap 7: of two states of a row keeps the one whose updated_at is the larger text.
void KeepNewestByText(const Fetch& fetch, const std::string& id, Documents& kept);
/// Trap 12: a row that is not in a list any more stays as it was.
Ids CustomersKnownByLists(const Fetch& fetch, Ids known);
/// Trap 21: as many requests at once as there are pages, and what fails is an empty page.
Ids CustomersAllAtOnce(const Fetch& fetch, int pages, int per_page);
/// Traps 22: a 4xx is our mistake and will never get better: next page.
Ids CustomersSkippingRefusedPages(const Fetch& fetch, int per_page);
/// Trap 23: a 401 means that the key is wrong, for good.
Ids CustomersUntilFirst401(const Fetch& fetch, int per_page);
/// Trap 24: only 200 is success.
Ids CustomersOf200Only(const Fetch& fetch, int per_page);
/// Trap 26: asks for what changed since the last time it asked.
void ChangesSinceLastPoll(const Fetch& fetch, WallTime& last_poll, WallTime now, Documents& kept);
/// Trap 29: knows the states that the page lists as live, problem and end of life.
Ids SubscriptionsOfKnownStates(const Fetch& fetch);
/// Trap 34: the host is the subdomain's.
std::string HostOf(const std::string& subdomain);
/// Trap 35: a struct for what is documented; what does not fit is no subscription.
Documents SubscriptionsByStruct(const Fetch& fetch);
/// Trap 42: fewer than asked for is the last page.
Ids CustomersUntilShortPage(const Fetch& fetch, int per_page);

}  // namespace tributary::extractor::testing::naive
