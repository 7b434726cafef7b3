"""What users hand in: tables of fields. Standard library only, since every parsing of the workflow reads them."""
