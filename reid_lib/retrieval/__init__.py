"""Images in other layouts than PKU-ReID's."""
