#pragma once

#include <memory>

#include "services/simulator/highlevel.h"
#include "services/simulator/rest_crm.h"
#include "services/simulator/site.h"
#include "services/simulator/world.h"

namespace tributary::simulator {

/// Folds the site's history into what each CRM should have by the shipped mappings, and compares
/// that with what it has. Written a second time from the mappings' description, on purpose.
///
/// Lenient where nobody can know better: of a customer that is gone only the mark of being gone
/// counts, and a record only if it was ever made; customers who ever shared an e-mail are not
/// looked for at HighLevel, where they are a conflict for a person.
class RecordJudge {
 public:
  RecordJudge();
  ~RecordJudge();

  /// Of one site, whose history it goes on to fold where it was at its last look.
  Judgement Look(const Site& site, const HighLevel& highlevel, const RestCrm& rest,
                 JudgeScope scope);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tributary::simulator
