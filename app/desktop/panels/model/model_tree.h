// model_tree.h — the open models as a tree: what is known of a model, its blocks with their hook points, its weights. Facts
// are there at once; weights are read when someone asks (setWeights), and until then their node holds one remark.
// GUI thread only.
#pragma once

#include <QAbstractItemModel>
#include <QString>
#include <memory>
#include <vector>

#include "app/engine/engine.h"

namespace microtome::desktop {

class ModelTree : public QAbstractItemModel {
  Q_OBJECT
 public:
  enum class Kind { kModel, kFacts, kFact, kBlock, kHook, kWeights, kGroup, kWeight, kRemark };
  enum Role : int {
    kKindRole = Qt::UserRole + 1,      // int, a Kind
    kSlotRole,                         // int: which model
    kLayerRole,                        // int: of a block and what is in it; -1: none
    kNameRole,                         // QString: the name to copy ("blocks.0.attn.hook_q"); empty: none
    kCaptureRole,                      // QString: pattern for `--capture`; empty: nothing that can be captured
    kAsideRole,                        // QString: behind the text, in the layer's colour ("gated delta rule")
    kDetailRole,                       // QString: at the right, muted ("batch · pos · 4 heads · 32")
    kShorterRole,                      // QStringList: the same in ever fewer words, for where room is short
    kMarkRole,                         // int, a RowMark: the kinds of layer
    kQuietRole,                        // bool: computed on request only
  };

  explicit ModelTree(QObject* parent = nullptr);
  ~ModelTree() override;

  // Null: the slot's model goes.
  void setModel(int slot, const app::ModelPtr& model);
  app::ModelPtr model(int slot) const;
  // The weights as the engine measured them; adds the parameter counts of the blocks.
  void setWeights(int slot, const std::vector<app::WeightFacts>& weights);
  bool hasWeights(int slot) const;
  // Stands below "Weights" until they are known: "reading… 40 %", or why they could not be read.
  void setWeightsRemark(int slot, const QString& remark);

  // Invalid where there is none.
  QModelIndex modelIndex(int slot) const;
  QModelIndex blockIndex(int slot, int layer) const;
  QModelIndex hookIndex(int slot, const QString& name) const;
  QModelIndex weightsIndex(int slot) const;

  QModelIndex index(int row, int column, const QModelIndex& parent = {}) const override;
  QModelIndex parent(const QModelIndex& child) const override;
  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;

 private:
  struct Node;
  Node* nodeOf(const QModelIndex& index) const;
  QModelIndex indexOf(const Node* node) const;
  Node* rootOf(int slot) const;
  Node* weightsOf(int slot) const;
  std::unique_ptr<Node> root_;
};

// "1,313,920", and "1.31 M" where room is short.
QString exactCount(qint64 n);
QString shortCount(qint64 n);
// "4 heads × 32", "8 heads (2 key/value) × 64/128"; d_k and d_v where they differ.
QString headsText(const app::LayerFacts& layer);
// "batch · pos · 4 heads · 32": axes that follow the run by name, the others by size.
QString hookShape(const app::HookFacts& hook);

}  // namespace microtome::desktop
