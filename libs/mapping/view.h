#pragma once

#include <string>

#include "libs/json/tree.h"

namespace tributary::mapping {

/// All current entities of one customer, joined when read: what a mapping sees, and all it sees.
/// Lists are sorted by id. Its nodes belong to a tree that outlives it.
struct View {
  /// The customer's own document. Null: not known (yet).
  json::Node customer;
  json::Node subscriptions = json::Node::OfArray({});
  json::Node invoices = json::Node::OfArray({});
  json::Node components = json::Node::OfArray({});
  /// Gone entities, and those that belong to another customer now: {subscriptions, invoices,
  /// components}, the last document of each.
  json::Node past = json::Node::OfObject({});
  /// The customer is gone at its source.
  bool gone = false;
};

/// What a rule sees: the event and the entities that it carries. As with a View, a tree outlives
/// it.
struct EventView {
  /// As the source sent it.
  json::Node event;
  json::Node customer;
  /// The subscription, invoice, component that the event concerns, else the first. Null: none.
  json::Node subscription;
  json::Node invoice;
  json::Node component;
  json::Node subscriptions = json::Node::OfArray({});
  json::Node invoices = json::Node::OfArray({});
  json::Node components = json::Node::OfArray({});
  bool gone = false;
  /// RFC 3339; the event's time.
  std::string now;
};

}  // namespace tributary::mapping
