// cell_runs.h — what the model says next on the selected prompt: clean, corrupted, and with one cell of the grid patched. Asked in the
// lane "light", kept until the question is another; GUI thread only.
#pragma once

#include <QObject>
#include <list>
#include <optional>

#include "app/desktop/session/session.h"

namespace microtome::desktop {

// A run of the model, as far as it is known.
struct CellRun {
  bool asked = false, known = false;
  app::NextTokens tokens;              // asked: the answers, then the wrong ones
  QString problem;                     // one sentence, instead of tokens
};

class CellRuns : public QObject {
  Q_OBJECT
 public:
  CellRuns(Session& session, QObject* parent) : QObject(parent), session_(session) {}
  // cell: nothing where no run can be patched. Asks for what is not known yet; changed() follows.
  void ask(const app::ModelPtr& model, const PromptPair& pair, const std::optional<app::CellRequest>& cell);
  void forget();
  const CellRun& clean() const { return clean_; }
  const CellRun& corrupted() const { return corrupted_; }
  const CellRun& patched() const { return patched_; }
  size_t answers() const { return answers_.size(); }
  // The metric of a run on this prompt, NaN where the metric needs more than its last logits or the prompt has no such answers.
  static double metricOf(const std::string& metric, const app::NextTokens& tokens, size_t answers);

 Q_SIGNALS:
  void changed();

 private:
  struct Base {
    app::ModelPtr model;
    std::vector<int64_t> clean, corrupted, answers, wrong;
    bool operator==(const Base&) const = default;
  };
  struct Cell {
    std::string site, direction;
    int64_t layer, head, pos;
    bool operator==(const Cell&) const = default;
  };
  std::vector<int64_t> asked() const;
  void askText(bool corrupted);
  void askCell(const PromptPair& pair, const app::CellRequest& cell);
  Session& session_;
  Base base_;
  std::optional<Cell> cell_;
  std::vector<int64_t> answers_, wrong_;
  CellRun clean_, corrupted_, patched_;
  // The latest cells, so that going back and forth costs nothing.
  std::list<std::pair<Cell, app::NextTokens>> kept_;
  int ticket_ = 0;
};

}  // namespace microtome::desktop
