// preview.h — the pages of a report below one another, drawn when they come into sight.
#pragma once

#include <QScrollArea>
#include <vector>

#include "app/desktop/views/report_pages.h"

namespace microtome::desktop {

class PageColumn;

class PagePreview : public QScrollArea {
  Q_OBJECT
 public:
  explicit PagePreview(QWidget* parent = nullptr);
  void setPages(std::vector<ReportPage> pages);
  void setBusy(bool busy);
  int pageCount() const;

 protected:
  void resizeEvent(QResizeEvent* event) override;

 private:
  PageColumn* column_;
};

}  // namespace microtome::desktop
