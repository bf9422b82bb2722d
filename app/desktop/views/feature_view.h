// feature_view.h — the dashboard of one feature: how often and how strongly it fires, what it raises and lowers, which
// features are near it, and stretches of text shaded by its activation.
#pragma once

#include <QString>
#include <functional>
#include <memory>
#include <vector>

#include "app/desktop/views/view.h"
#include "core/base/feature_set.h"

class QLabel;
class QLineEdit;
class QScrollArea;
class QVBoxLayout;

namespace microtome::desktop {

class ChartView;
class TokenStrip;

class FeatureView : public View {
  Q_OBJECT
 public:
  static constexpr int kMostExamples = 40;             // more is no reading any more: Save as CSV has them all

  explicit FeatureView(QWidget* parent = nullptr);
  // row: into set->features; -1, or a null set: nothing, `emptyText` then says what to do.
  void setFeature(std::shared_ptr<const FeatureSet> set, int row, const QString& label, const QString& emptyText = {});
  void setLabel(const QString& label);
  // What stands behind a neighbour's index, and whether it can be opened. Empty: the index alone.
  void setNames(std::function<QString(qint64 feature)> names) { names_ = std::move(names); }
  // Neighbours that the set does not hold are links too: they are read from elsewhere.
  void setOthersRead(bool on) { othersRead_ = on; }
  void setLabelEditable(bool on);
  qint64 feature() const;                              // its index; -1: none
  const FeatureSet::Feature* shown() const;
  QLineEdit* labelField() const { return label_; }

  void drawPicture(QPainter& painter, const QSizeF& size) const override;
  QSizeF pictureSize() const override;
  QString csv() const override;                        // band, sequence, position, id, token, activation: every token of every example

 Q_SIGNALS:
  void featureWanted(qint64 feature);                  // a neighbour was clicked
  void labelEdited(qint64 feature, const QString& text);

 private:
  void fillNumbers();
  void fillLogits(TokenStrip* strip, const std::vector<FeatureSet::TokenScore>& tokens);
  void fillLinks(QLabel* label, const std::vector<FeatureSet::Neighbour>& near, const QString& what, const QString& tip);
  void fillExamples();
  std::shared_ptr<const FeatureSet> set_;
  int row_ = -1;
  bool othersRead_ = false;
  std::function<QString(qint64)> names_;
  QScrollArea* scroll_;
  QWidget* content_;
  QLabel *empty_, *title_, *numbers_, *near_, *coactive_, *examplesTitle_;
  QLineEdit* label_;
  ChartView* histogram_;
  TokenStrip *raises_, *lowers_;
  QVBoxLayout* column_;
  struct Row {
    QLabel* caption;
    TokenStrip* strip;
  };
  std::vector<Row> rows_;                              // made when first needed, then reused
};

}  // namespace microtome::desktop
