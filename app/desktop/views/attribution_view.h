// attribution_view.h — an attribution graph to work with: the canvas (tokens below, a stripe a layer, logits above), two sliders
// that prune it as they move, and what is selected in words. Not a View itself: canvas() is the picture.
#pragma once

#include <QWidget>
#include <memory>

#include "app/desktop/views/artifact_view.h"
#include "app/desktop/views/graph_of_attribution.h"
#include "core/base/attribution_prune.h"

class QCheckBox;
class QDoubleSpinBox;
class QSlider;
class QSplitter;
class QTextBrowser;

namespace microtome::desktop {

class AttributionView : public QWidget {
  Q_OBJECT
 public:
  explicit AttributionView(QWidget* parent = nullptr);
  // The shares are those the graph was made with, unless a person has moved them; what is selected stays where it still exists.
  void setGraph(std::shared_ptr<const AttributionGraph> graph, const ArtifactContext& context);
  const AttributionGraph* graph() const { return graph_.get(); }
  // Features by layer and index, where dashboards of the dictionary are known.
  void setNotes(FeatureNotes notes);
  // The sentence below the selected edge ("measured …"); empty: none.
  void setEdgeNote(const QString& text);

  GraphView* canvas() const { return canvas_; }
  QTextBrowser* inspector() const { return words_; }
  QSplitter* splitter() const { return splitter_; }
  // Of the graph, -1: none.
  int selectedNode() const { return node_; }
  int selectedEdge() const { return edge_; }
  void selectNode(int node);
  void selectEdge(int edge);
  int nodeOf(int drawn) const { return picture_.nodes[static_cast<size_t>(drawn)]; }
  int drawnOf(int node) const { return node < 0 || node >= static_cast<int>(picture_.shown.size()) ? -1 : picture_.shown[static_cast<size_t>(node)]; }
  int nodeNamed(const QString& name) const;
  const AttributionCut& cut() const { return cut_; }
  double nodeShare() const { return shares_[0]; }
  double edgeShare() const { return shares_[1]; }
  void setShares(double nodes, double edges);
  // The graph as it is pruned now, with the groups on the canvas as supernodes.
  AttributionGraph shownGraph() const;
  // Groups of the graph itself, by the canvas's node.
  QString ownGroup(int drawn) const;

 Q_SIGNALS:
  void nodePicked(int node);
  void edgePicked(int edge);
  void pickCleared();
  void rebuilt();                                      // the canvas holds other nodes: what was done to them by hand is gone
  void featureWanted(qint64 layer, qint64 feature);    // a link in the words

 protected:
  void changeEvent(QEvent* event) override;            // colours are in the words

 private:
  struct Share {
    QSlider* slider = nullptr;
    QDoubleSpinBox* spin = nullptr;
  };
  Share makeShare(const QString& name, const char* object, const QString& tip, int which, QWidget* bar);
  void setShare(int which, double value);
  void prune();
  void select(int node, int edge, bool tell);
  void describe();
  QString nodeHtml(int node) const;
  QString edgeHtml(int edge) const;
  QString graphHtml() const;
  QString linkTo(int node) const;

  std::shared_ptr<const AttributionGraph> graph_;
  std::unique_ptr<AttributionPruner> pruner_;
  std::vector<LayerKind> layers_;
  FeatureNotes notes_;
  AttributionCut cut_;
  AttributionPicture picture_;
  double shares_[2] = {0.8, 0.98}, most_[2] = {1, 1};
  bool moved_ = false, setting_ = false, stale_ = false;
  int node_ = -1, edge_ = -1;
  QString edgeNote_;
  Share bars_[2];
  QCheckBox* errors_;
  QSplitter* splitter_;
  GraphView* canvas_;
  QTextBrowser* words_ = nullptr;
};

}  // namespace microtome::desktop
