#pragma once

#include "services/tributary/command_tree.h"

// Each adds the commands of one subject; the file of the subject has its name.

namespace tributary::cli {

/// apply, config
void AddApply(CommandTree& tree);
/// tenant, connection, sync
void AddTenants(CommandTree& tree);
/// status, sweep, trace
void AddStatus(CommandTree& tree);
void AddParked(CommandTree& tree);
void AddVerify(CommandTree& tree);
void AddTopics(CommandTree& tree);
/// tls, version
void AddAbout(CommandTree& tree);
void AddBackup(CommandTree& tree);
void AddDoctor(CommandTree& tree);
/// export, import
void AddMove(CommandTree& tree);
void AddPlan(CommandTree& tree);
/// man, completion
void AddManual(CommandTree& tree);

}  // namespace tributary::cli
