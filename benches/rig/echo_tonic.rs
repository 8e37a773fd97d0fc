//! The baseline of gRPC benchmarks: a bare tonic server that answers every ModelInfer with a message of the size that
//! the `tiny` model's answer has. No model, no checks, tonic's and prost's defaults.
//!
//! `echo_tonic PORT [THREADS]`

use tonic::{Request, Response, Status};
use weir::protocol::grpc::pb::grpc_inference_service_server::{
    GrpcInferenceService, GrpcInferenceServiceServer,
};
use weir::protocol::grpc::pb::model_infer_response::InferOutputTensor;
use weir::protocol::grpc::pb::{ModelInferRequest, ModelInferResponse};

struct Echo;

#[tonic::async_trait]
impl GrpcInferenceService for Echo {
    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let request = request.into_inner();
        Ok(Response::new(ModelInferResponse {
            model_name: request.model_name,
            model_version: "1".to_owned(),
            id: request.id,
            outputs: vec![InferOutputTensor {
                name: "y".to_owned(),
                datatype: "FP32".to_owned(),
                shape: vec![1, 3],
                ..Default::default()
            }],
            raw_output_contents: request.raw_input_contents.iter().map(|raw| raw.slice(..12)).collect(),
            ..Default::default()
        }))
    }
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().unwrap_or_else(|| "9001".to_owned()).parse()?;
    let threads: usize = args.next().unwrap_or_else(|| "1".to_owned()).parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let service = GrpcInferenceServiceServer::new(Echo);
        tonic::transport::Server::builder().tcp_nodelay(true).add_service(service).serve(address).await
    })?;
    Ok(())
}
