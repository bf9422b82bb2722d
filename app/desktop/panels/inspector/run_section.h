// run_section.h — the selected run in full: what it is, how it was computed, the command that repeats it, its notes.
#pragma once

#include "app/desktop/panels/inspector/sections.h"
#include "app/desktop/session/session.h"

class QLabel;
class QPlainTextEdit;

namespace microtome::desktop {

class Panel;

class RunSection : public Section {
  Q_OBJECT
 public:
  RunSection(Panel& panel, QWidget* parent);
  // 0, or one that is gone: hides itself.
  void show(qint64 run);
  // What is typed and not yet kept.
  void keepNote();

 protected:
  bool eventFilter(QObject* object, QEvent* event) override;

 private:
  void fill(const RunRecord& record);
  void fillNotes(qint64 run);
  Panel& panel_;
  Session& session_;
  QLabel *definition_, *source_, *noteHint_;
  QPlainTextEdit *command_, *note_;
  QWidget* viewNotes_;
  QString shownNotes_;
  std::vector<AttemptRecord> attempts_;
  qint64 run_ = 0;
  std::string asked_;                  // of which run and state the attempts were asked for
};

}  // namespace microtome::desktop
