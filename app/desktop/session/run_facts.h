// run_facts.h — a stored run in words: its title, state, times; and the request that would repeat it. The same words in
// every panel.
#pragma once

#include <QString>
#include <optional>

#include "app/desktop/session/session.h"

namespace microtome::desktop {

// Titles and names come from files: one line, nothing invisible, cut at 200 characters.
QString runTitle(const RunRecord& run);                // "Attention patterns"; the analysis's name where there is no title
QString runModel(const RunRecord& run);
QString runDataset(const RunRecord& run);              // "no prompts" for analyses that make their own
// "new", "3 of 8 items", "failed at 3 of 8 items", "done".
QString runStateText(const RunRecord& run);
// Local time of an ISO 8601 UTC text: "14:03" today, "24 Nov 14:03", "24 Nov 2025"; the text itself when it is none.
QString shortTime(const std::string& iso);
QString longTime(const std::string& iso);              // "24 Nov 2025 14:03:22"
// "< 0.01 s", "0.42 s", "12 s", "3 min 20 s", "2 h 5 min"; "–" for a negative or unknown time.
QString durationText(double seconds);

// The slot in which the run's model is open, -1: none.
int slotOfModel(const Session& session, const RunRecord& run);
// The request that gives the same run in this window. Empty, with one sentence of what to do in `why` (may be null), when
// its model is not open, its prompts are not those of the window, or it ran with settings that the window does not have.
std::optional<RunRequest> requestOf(const Session& session, const RunRecord& run, QString* why);

}  // namespace microtome::desktop
