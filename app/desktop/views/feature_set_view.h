// feature_set_view.h — a dictionary's features to look through: a search, a list that sorts by any column, the dashboard of
// the one that is chosen.
#pragma once

#include <QTimer>
#include <memory>

#include "app/desktop/views/feature_list.h"
#include "app/desktop/views/feature_view.h"
#include "app/desktop/views/view.h"

class QLabel;
class QLineEdit;
class QSplitter;
class QTableView;

namespace microtome::desktop {

class FeatureSetView : public View {
  Q_OBJECT
 public:
  explicit FeatureSetView(QWidget* parent = nullptr);
  // The feature chosen before stays chosen where the new set has it; else the first row is.
  void setSet(std::shared_ptr<const FeatureSet> set);
  const FeatureSet* set() const { return model_->set(); }
  qint64 feature() const;                              // the chosen one's index, -1: none
  bool choose(qint64 feature);                         // false: not in the set. Takes the search away where it would hide it
  void setSearch(const QString& text);
  void setLabel(qint64 feature, const QString& text);  // emits nothing
  QString label(qint64 feature) const;
  void setLabelsEditable(bool on);                     // where somebody keeps them
  FeatureSet edited() const { return model_->edited(); }
  FeatureView* dashboard() const { return dashboard_; }
  QTableView* list() const { return list_; }
  QLineEdit* searchField() const { return search_; }
  QSplitter* splitter() const { return splitter_; }

  QList<Format> formats() const override { return {Format::kCsv, Format::kPng}; }
  QString csv() const override;                        // the list as it stands: found rows, in their order

 Q_SIGNALS:
  void featureChosen(qint64 feature);                  // by a person or by choose(); -1: none
  void labelEdited(qint64 feature, const QString& text);

 protected:
  bool eventFilter(QObject* object, QEvent* event) override;
  void addActions(QMenu& menu) override;               // Save dashboard as CSV…

 private:
  void search();
  void show(qint64 feature);
  void fitColumns();
  FeatureListModel* model_;
  FeatureListFilter* filter_;
  QSplitter* splitter_;
  QLineEdit* search_;
  QLabel* count_;
  QTableView* list_;
  FeatureView* dashboard_;
  QTimer typing_;
  bool fitted_ = false;
};

}  // namespace microtome::desktop
