"""Where vectors lie and are searched: one protocol, a FAISS file, a Milvus file or server."""
