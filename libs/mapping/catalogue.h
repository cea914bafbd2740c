#pragma once

#include "libs/cel/type.h"

// What is known of Chargify's documents. Only what keeps its type everywhere is listed: ids whose
// type may change, quantities that are numbers or strings, and keys nobody has seen yet are dyn.

namespace tributary::mapping {

cel::Type CustomerType();
cel::Type SubscriptionType();
cel::Type InvoiceType();
cel::Type ComponentType();
cel::Type EventType();

}  // namespace tributary::mapping
