// trained_dictionaries.h — the training runs of the project: what they gave apart from its tensors (curves, tables, which
// dictionaries), and their dictionaries as folders that other analyses read.
#pragma once

#include <QObject>
#include <QString>
#include <QStringList>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "app/desktop/session/session.h"

namespace microtome::desktop {

// The analyses whose results are dictionaries.
const std::vector<QString>& trainingAnalyses();
bool trainsDictionaries(const RunRecord& run);

struct TrainingFacts {
  struct Made {
    std::string name;                  // of the artifact
    QString title, kind, hook;         // "topk", "blocks.2.hook_resid_post"; a transcoder: "in → out"
    int64_t dSae = 0;
  };
  std::vector<Series> series;
  std::vector<Table> tables;
  std::vector<Made> dictionaries;

  const Series* find(const char* name) const;
  const Table* table(const char* name) const;
};
using TrainingFactsPtr = std::shared_ptr<const TrainingFacts>;
TrainingFacts trainingFactsOf(const AnalysisResult& result);
// The cell of a column, whatever capitals, blanks and underscores its name is written with; NaN: no such number.
double numberOf(const Table& table, size_t row, const char* column);
QString textOf(const Table& table, size_t row, const char* column);

class TrainingRuns : public QObject {
  Q_OBJECT
 public:
  TrainingRuns(Session& session, QObject* parent);
  std::vector<const RunRecord*> list() const;          // of all models, newest first, whatever their state
  // Of a run that is not done: its curves as they were when it was last read. Null: not read, or it has kept nothing.
  TrainingFactsPtr facts(qint64 run) const;
  // Reads what is not read yet, in the lane "store"; changed() follows.
  void read();

  // Where a dictionary of the run is written, beside the project; name: the artifact, empty: all of the run as one set.
  QString folderOf(const RunRecord& run, const std::string& name) const;
  // Writes the dictionary whose folder this is, if it is one of ours and not written yet; any other path is left alone. `done` gets
  // a sentence when that failed, else an empty text.
  void ensure(const QString& folder, QObject* receiver, std::function<void(const QString& problem)> done);

 Q_SIGNALS:
  void changed();

 private:
  Session& session_;
  std::map<qint64, TrainingFactsPtr> facts_;
  std::set<qint64> asked_, askedUnfinished_;
};

}  // namespace microtome::desktop
