// feature_set_view.h — a dictionary's features to look through: a search, a list that sorts by any column, the dashboard of
// the one that is chosen.
#pragma once

#include <QTimer>
#include <functional>
#include <map>
#include <memory>

#include "app/desktop/views/feature_list.h"
#include "app/desktop/views/feature_view.h"
#include "app/desktop/views/view.h"
#include "core/store/result_store.h"

class QLabel;
class QLineEdit;
class QSplitter;
class QTableView;

namespace microtome::desktop {

class FeatureSetView : public View {
  Q_OBJECT
 public:
  explicit FeatureSetView(QWidget* parent = nullptr);
  // A set that lies in a project: rows come page by page, a dashboard when it is looked at. The functions read in another thread and call
  // back in this one, or never where the window has gone on.
  struct Stored {
    std::function<void(const FeatureQuery&, std::function<void(const Result<ResultStore::FeaturePage>&)>)> find;
    std::function<void(qint64, std::function<void(const Result<FeatureSet>&)>)> feature;
  };
  // opened() follows when the first page is there; what is shown stays till then. first: the feature to choose, -1: that of the first row.
  void setStored(Stored stored, qint64 first = -1);
  // The feature chosen before stays chosen where the new set has it; else the first row is.
  void setSet(std::shared_ptr<const FeatureSet> set);
  const FeatureSet* set() const { return model_->set(); }
  qint64 feature() const;                              // the chosen one's index, -1: none
  bool choose(qint64 feature);                         // false: not in the set; of a stored one, said later. Takes the search away where it would hide it
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
  void opened(const QString& why);                     // of setStored(); why: empty, or what is wrong
  void featureChosen(qint64 feature);                  // by a person or by choose(); -1: none
  void labelEdited(qint64 feature, const QString& text);

 protected:
  bool eventFilter(QObject* object, QEvent* event) override;
  void addActions(QMenu& menu) override;               // Save dashboard as CSV…

 private:
  void search();
  void ask();                          // the first page of what is searched for
  void takePage(const FeatureQuery& query, int asked, const Result<ResultStore::FeaturePage>& page);
  void describeCount(qint64 found, qint64 all);
  void showFeature(qint64 feature);
  void fitColumns();
  FeatureListModel* model_;
  FeatureListFilter* filter_;
  QSplitter* splitter_;
  QLineEdit* search_;
  QLabel* count_;
  QTableView* list_;
  FeatureView* dashboard_;
  QTimer typing_;
  bool fitted_ = false, searching_ = false;
  Stored stored_;                      // without functions: the set is in memory
  int asked_ = 0;
  bool opening_ = false, firstFound_ = false;          // waiting for the first page; its first row is to be chosen
  qint64 wanted_ = -1;                 // of a stored set: being read, or read last
  std::map<qint64, QString> names_;    // labels of a stored set
};

}  // namespace microtome::desktop
