// result_pane.h — a result view that is wired to its panel and to the selection: what is picked in it becomes the selected
// head and position where the run's model is open, what is selected elsewhere is marked in it.
#pragma once

#include <memory>
#include <vector>

#include "app/desktop/panels/panel.h"
#include "app/desktop/session/session.h"
#include "app/desktop/views/result_view.h"

namespace microtome::desktop {

// Kinds of the layers, from a run's context (JSON of make_context) or a model that is open. Empty: unknown.
std::vector<LayerKind> layersOf(const QString& context);
std::vector<LayerKind> layersOf(const app::ModelFacts& facts);

class ResultPane : public ResultView {
  Q_OBJECT
 public:
  ResultPane(Panel& panel, QWidget* parent);
  // slot: where the run's model is open, -1: nowhere.
  void showRun(const RunViewPtr& run, int slot);
  // What a run gives so far; the numbers are not stored yet.
  void showPreview(const std::shared_ptr<const AnalysisResult>& soFar, int slot, const QString& command);
  void forget(const QString& emptyText);

 Q_SIGNALS:
  // A person brought another artifact to the front.
  void artifactShown(const QString& name);
  // Another picture, array or slice is on show.
  void pictureShown();

 private:
  friend void pairUp(ResultPane* left, ResultPane* right);
  void watchPictures();
  HeatMapView* picture() const;        // null: a table, lines, nothing yet
  void pick(const QHash<QString, qint64>& cell);
  void mark();
  // Where index 0 of the position axis of what is on show lies in the selected prompt: positions are aligned at the end.
  qint64 shift() const;
  Session& session_;
  std::shared_ptr<const AnalysisResult> result_;
  int slot_ = -1;
};

// Two results side by side: they show the same artifact, and where both pictures are of one quantity they have one colour
// scale, so that a colour means the same on either side.
void pairUp(ResultPane* left, ResultPane* right);

}  // namespace microtome::desktop
