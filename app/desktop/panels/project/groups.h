// groups.h — what the project panel lists, as data: groups of rows made from the session. A new kind of thing in a project
// is one more group in projectGroups(); model, filter, sorting and menu follow from what its rows hold.
#pragma once

#include <QHash>
#include <QString>
#include <functional>
#include <optional>
#include <vector>

#include "app/desktop/session/session.h"
#include "app/desktop/views/row_delegate.h"

namespace microtome::desktop {

struct ProjectRow {
  QString key;                         // names the row through refreshes: "run:12", "model:…"
  QString title, detail, right, state;
  RowTone tone = RowTone::kPlain;
  RowMark mark = RowMark::kNone;
  std::optional<double> progress;
  bool note = false;
  QString tip;
  QString text;                        // further words that the filter finds
  // What can be done with it: whatever is set.
  qint64 run = 0, job = 0;             // a stored run; a job under way
  QString artifact;                    // a note's picture; empty: the run's own note
  bool trashed = false;
  QString modelPath, filter;           // a model folder; what the filter field is set to by "Show its runs"
  // Sorting of runs.
  QString analysis, model, dataset, created;
  int stateOrder = 0;
};

// What rows are made from.
struct ProjectFacts {
  const Session* session = nullptr;
  QHash<QString, RowMark> marks;       // model folder → kinds of its layers, as far as known
  std::vector<JobSnapshot> underWay;   // analyses that this window has started and that have not ended
};

struct ProjectGroup {
  QString id, title;
  bool sorts = false;                  // its rows follow the chosen order; else as given
  bool always = false;                 // shown without rows too
  std::function<std::vector<ProjectRow>(const ProjectFacts&)> rows;
};
const std::vector<ProjectGroup>& projectGroups();
// The group that changes several times a second while something runs.
inline const QString kJobsGroup = QStringLiteral("jobs");

RowMark markOf(const app::ModelFacts& facts);

}  // namespace microtome::desktop
