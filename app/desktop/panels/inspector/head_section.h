// head_section.h — the selected head or layer: its mixer and sizes, and what the newest runs of the project on this model say
// about it.
#pragma once

#include <QHash>

#include "app/desktop/panels/inspector/head_numbers.h"
#include "app/desktop/panels/inspector/sections.h"
#include "app/desktop/session/session.h"

namespace microtome::desktop {

class HeadSection : public Section {
  Q_OBJECT
 public:
  // Runs looked at, numbers shown a run.
  static constexpr int kMostRuns = 8, kMostNumbers = 12;

  HeadSection(Session& session, QWidget* parent);
  void show();                         // from the session's selection; hides itself where nothing is selected

 private:
  void fill();
  std::vector<const RunRecord*> newestRuns(int slot) const;
  Session& session_;
  FactGrid* numbers_;
  class QLabel* said_;
  // Of the head asked for last: run → its numbers.
  QHash<qint64, std::vector<HeadNumber>> found_;
  int generation_ = 0, slot_ = -1, layer_ = -1, head_ = -1;
  QList<qint64> runs_;
  const void* model_ = nullptr;
};

}  // namespace microtome::desktop
