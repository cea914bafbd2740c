#pragma once

#include <string>
#include <vector>

#include "libs/json/value.h"

namespace tributary::mapping {

/// All current entities of one customer, joined when read: what a mapping sees, and all it sees.
/// Lists are sorted by id.
struct View {
  /// The customer's own document. Null: not known (yet).
  json::Value customer;
  json::Value subscriptions = json::Array();
  json::Value invoices = json::Array();
  json::Value components = json::Array();
  /// Gone entities, and those that belong to another customer now: {subscriptions, invoices,
  /// components}, the last document of each.
  json::Value past = json::Object();
  /// The customer is gone at its source.
  bool gone = false;
};

/// What a rule sees: the event and the entities that it carries.
struct EventView {
  /// As the source sent it.
  json::Value event;
  json::Value customer;
  /// The subscription, invoice, component that the event concerns, else the first. Null: none.
  json::Value subscription;
  json::Value invoice;
  json::Value component;
  json::Value subscriptions = json::Array();
  json::Value invoices = json::Array();
  json::Value components = json::Array();
  bool gone = false;
  /// RFC 3339; the event's time.
  std::string now;
};

}  // namespace tributary::mapping
