// session_impl.h — what the session's sources share. Private to app/desktop/session.
#pragma once

#include <QCache>
#include <QTimer>
#include <QUndoCommand>

#include "app/desktop/session/session.h"

namespace microtome::desktop {

struct WaitingJob {
  std::function<void(const Status&)> ended;
  QPointer<QObject> receiver;
  bool hasReceiver = false;
};

struct Session::Impl {
  std::unique_ptr<JobQueue> queue;
  QHash<qint64, WaitingJob> waiting;
  QHash<qint64, RunViewPtr> loaded;    // results in memory, the latest kLoaded of them
  QList<qint64> loadedOrder;
  QHash<qint64, std::map<std::string, std::string>> viewNotes;
  int running = 0;                     // analyses and openings under way
  int generation = 0;                  // of the prompts: an older tokenisation is dropped
  bool demo = false;
  QString openingFolder[Session::kSlots];

  static constexpr int kLoaded = 24;
  void keep(const RunViewPtr& run);
};

// An edit given by its two directions.
class EditCommand : public QUndoCommand {
 public:
  EditCommand(const QString& text, std::function<void()> forth, std::function<void()> back)
      : QUndoCommand(text), forth_(std::move(forth)), back_(std::move(back)) {}
  void redo() override { forth_(); }
  void undo() override { back_(); }

 private:
  std::function<void()> forth_, back_;
};

// A word of a shell command, quoted where it must be.
QString shellWord(const QString& word);
QString sentenceOf(const Status& status);
inline std::string utf8(const QString& s) { return s.toStdString(); }
inline QString qstr(const std::string& s) { return QString::fromStdString(s); }

}  // namespace microtome::desktop
